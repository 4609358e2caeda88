"""Retention: small values that join, and no policy may take the newest or the best."""

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oneflower.checkpoints import (
    CheckpointStore,
    KeepAll,
    KeepBest,
    KeepEvery,
    KeepNewest,
    KeepUnion,
    Measure,
    retention_of,
)
from oneflower.checkpoints.retention import best_round, doomed
from oneflower.errors import CheckpointError

ACCURACY = Measure(phase="central", name="accuracy", better="higher")
LOSS = Measure(phase="evaluate", name="loss", better="lower")
ROUNDS = (1, 2, 3, 4, 5, 6)

numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-5, 5)
rounds = st.sets(st.integers(1, 30), min_size=1, max_size=12)


@st.composite
def histories(draw):
    """Return metrics in which any round may have any number, or none."""
    series = st.dictionaries(
        st.integers(1, 30).map(str), st.dictionaries(st.sampled_from(["accuracy", "loss"]), numbers)
    )
    return {phase: draw(series) for phase in draw(st.sets(st.sampled_from(["central", "evaluate", "train"])))}


policies = st.recursive(
    st.just(KeepAll())
    | st.integers(2, 5).map(KeepNewest)
    | st.integers(1, 5).map(KeepEvery)
    | st.sampled_from([KeepBest((ACCURACY,)), KeepBest((LOSS,)), KeepUnion(())]),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: KeepUnion(tuple(parts))),
    max_leaves=4,
)


def test_newest_keeps_the_last_rounds():
    assert KeepNewest(2).kept((4, 1, 6, 2), {}) == {4, 6}


def test_fewer_than_two_newest_are_refused_with_the_variable_that_sets_it():
    with pytest.raises(CheckpointError, match="FL_CHECKPOINT_KEEP to 2 or more, or to 0"):
        KeepNewest(1)


def test_every_mth_keeps_the_multiples():
    assert KeepEvery(3).kept(ROUNDS, {}) == {3, 6}
    with pytest.raises(CheckpointError, match="expected 1 or more"):
        KeepEvery(0)


def test_best_keeps_the_highest_or_the_lowest_as_its_measure_says():
    values = {
        "central": {"1": {"accuracy": 0.9}, "2": {"accuracy": 0.5}},
        "evaluate": {"1": {"loss": 0.4}, "2": {"loss": 0.1}},
    }
    assert KeepBest((ACCURACY,)).kept(ROUNDS, values) == {1}
    assert KeepBest((LOSS,)).kept(ROUNDS, values) == {2}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "0.99", [0.99]])
@pytest.mark.parametrize("measure", [ACCURACY, LOSS])
def test_what_is_not_a_finite_number_never_wins(measure, value):
    metrics = {measure.phase: {"1": {measure.name: 0.2}, "2": {measure.name: value}}}
    assert best_round(ROUNDS, metrics, (measure,)).round == 1


def test_of_equals_the_later_is_the_best():
    metrics = {"central": {"2": {"accuracy": 0.5}, "4": {"accuracy": 0.5}}}
    assert best_round(ROUNDS, metrics, (ACCURACY,)).round == 4


def test_the_first_measure_that_any_round_has_decides():
    metrics = {"central": {"1": {"accuracy": math.nan}}, "evaluate": {"2": {"loss": 1.0}, "3": {"loss": 0.5}}}
    assert best_round(ROUNDS, metrics, (ACCURACY, LOSS)).round == 3
    assert best_round(ROUNDS, {}, (ACCURACY, LOSS)) is None


@pytest.mark.parametrize("metrics", [{"central": 3}, {"central": {"1": 3}}, {"central": [1]}, {"other": {}}])
def test_metrics_of_another_layout_have_no_best_and_do_no_harm(metrics):
    assert best_round(ROUNDS, metrics, (ACCURACY,)) is None


def test_keep_of_the_variable_is_the_newest_and_the_best_and_zero_is_all():
    metrics = {"central": {"1": {"accuracy": 0.9}, "5": {"accuracy": 0.5}}}
    assert retention_of(3).kept(ROUNDS, metrics) == {1, 4, 5, 6}
    assert retention_of(0).kept(ROUNDS, metrics) == set(ROUNDS)


@given(left=policies, right=policies, rounds=rounds, metrics=histories())
def test_a_union_keeps_what_any_part_keeps(left, right, rounds, metrics):
    union = KeepUnion((left, right)).kept(tuple(rounds), metrics)
    assert union == left.kept(tuple(rounds), metrics) | right.kept(tuple(rounds), metrics)


@given(policy=policies, rounds=rounds, metrics=histories())
def test_no_policy_takes_the_newest_or_the_best(policy, rounds, metrics):
    gone = set(doomed(rounds, metrics, policy, (ACCURACY, LOSS)))
    assert gone <= rounds - policy.kept(rounds, metrics)
    assert max(rounds) not in gone
    by_hand = {
        number: metrics["central"][str(number)]["accuracy"]
        for number in rounds
        if math.isfinite(metrics.get("central", {}).get(str(number), {}).get("accuracy", math.nan))
    }
    if by_hand:
        best = max(number for number in by_hand if by_hand[number] == max(by_hand.values()))
        assert best not in gone


@given(policy=policies, metrics=histories(), rotten=st.sets(st.integers(1, 8), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_pruning_a_folder_never_takes_the_newest_good_or_the_best_good(
    policy, metrics, rotten, scratch, make
):
    """Whatever is damaged, and however often it is pruned, the same checkpoint loads before and after."""
    root = Path(tempfile.mkdtemp(dir=scratch))
    with CheckpointStore(root, measures=(ACCURACY, LOSS)) as store:
        for number in range(1, 9):
            store.save(make(number, size=1, metrics=metrics))
        for number in rotten:
            (root / f"checkpoint_round_{number}.npz").write_bytes(b"rot")
        good = set(range(1, 9)) - rotten
        best = best_round(good, metrics, (ACCURACY, LOSS))
        foreseen = store.prune(policy, dry_run=True)
        assert store.prune(policy) == foreseen
        assert store.prune(policy) == ()
        left = set(store.rounds())
        assert rotten <= left
        assert max(good, default=None) == (newest.round if (newest := store.latest()) else None)
        assert best is None or best.round in left
