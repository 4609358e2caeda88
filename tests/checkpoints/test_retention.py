"""Retention: policies can be combined, and none may delete the newest or the best round."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oneflower.checkpoints import (
    CheckpointStore,
    KeepAll,
    KeepEvery,
    KeepNewest,
    KeepUnion,
    retention_of,
)
from oneflower.checkpoints.retention import rounds_to_delete
from oneflower.errors import CheckpointError
from oneflower.quality import best_of, flat

ROUNDS = (1, 2, 3, 4, 5, 6)

numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-5, 5)
rounds = st.sets(st.integers(1, 30), min_size=1, max_size=12)


@st.composite
def histories(draw):
    """Return metrics in which each round may have any number, or none."""
    series = st.dictionaries(
        st.integers(1, 30).map(str), st.dictionaries(st.sampled_from(["accuracy", "loss"]), numbers)
    )
    return {phase: draw(series) for phase in draw(st.sets(st.sampled_from(["central", "evaluate", "train"])))}


policies = st.recursive(
    st.just(KeepAll())
    | st.integers(2, 5).map(KeepNewest)
    | st.integers(1, 5).map(KeepEvery)
    | st.just(KeepUnion(())),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: KeepUnion(tuple(parts))),
    max_leaves=4,
)


def test_newest_keeps_the_last_rounds():
    assert KeepNewest(2).kept((4, 1, 6, 2)) == {4, 6}


def test_fewer_than_two_newest_are_refused_with_the_variable_that_sets_it():
    with pytest.raises(CheckpointError, match="FL_CHECKPOINT_KEEP to 2 or more, or to 0"):
        KeepNewest(1)


def test_keep_every_keeps_the_multiples():
    assert KeepEvery(3).kept(ROUNDS) == {3, 6}
    with pytest.raises(CheckpointError, match="expected 1 or more"):
        KeepEvery(0)


def test_keep_of_the_variable_is_the_newest_and_zero_is_all():
    assert retention_of(3).kept(ROUNDS) == {4, 5, 6}
    assert retention_of(0).kept(ROUNDS) == set(ROUNDS)
    assert rounds_to_delete(ROUNDS, 1, retention_of(3)) == (2, 3)
    assert (
        rounds_to_delete(ROUNDS, None, retention_of(0)) == rounds_to_delete((), None, retention_of(3)) == ()
    )


@given(left=policies, right=policies, rounds=rounds)
def test_a_union_keeps_what_any_policy_keeps(left, right, rounds):
    union = KeepUnion((left, right)).kept(tuple(rounds))
    assert union == left.kept(tuple(rounds)) | right.kept(tuple(rounds))


@given(policy=policies, rounds=rounds, best=st.none() | st.integers(1, 30))
def test_no_policy_deletes_the_newest_or_the_best(policy, rounds, best):
    gone = set(rounds_to_delete(rounds, best, policy))
    assert gone <= rounds - policy.kept(rounds)
    assert max(rounds) not in gone
    assert best not in gone


def best_by_hand(rounds, metrics):
    """Return the best of some rounds by all their metrics."""
    measured = {
        number: flat({phase: series.get(str(number)) for phase, series in metrics.items()})
        for number in rounds
    }
    return best_of(measured)


@given(policy=policies, metrics=histories(), rotten=st.sets(st.integers(1, 8), max_size=6))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=settings.default.max_examples * 2 // 5,
)
def test_pruning_never_deletes_the_newest_intact_or_the_best_intact_round(
    policy, metrics, rotten, scratch, make
):
    """With any damage, and after any number of prunes, the same checkpoint loads as before."""
    root = Path(tempfile.mkdtemp(dir=scratch))
    with CheckpointStore(root) as store:
        for number in range(1, 9):
            store.save(make(number, size=1, metrics=metrics))
        for number in rotten:
            (root / f"checkpoint_round_{number}.npz").write_bytes(b"rot")
        good = set(range(1, 9)) - rotten
        best = best_by_hand(good, metrics)
        foreseen = store.prune(policy, dry_run=True)
        assert store.prune(policy) == foreseen
        assert store.prune(policy) == ()
        left = set(store.rounds())
        assert rotten <= left
        assert max(good, default=None) == (newest.round if (newest := store.latest()) else None)
        assert best is None or best.round in left


@given(metrics=histories(), late=st.sets(st.integers(1, 9)))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=settings.default.max_examples * 3 // 5,
)
def test_the_best_round_is_kept_and_linked_whenever_its_evaluation_is_recorded(metrics, late, scratch, make):
    """Clients evaluate after their round's checkpoint: it comes with the next one, or is noted at the end.

    What is kept, and shown by the link, is what the status and the page call the best.
    """
    root = Path(tempfile.mkdtemp(dir=scratch))
    told = {"central": {}, "evaluate": {}}
    with CheckpointStore(root, retention=KeepNewest(2)) as store:
        for number in range(1, 10):
            told["central"] |= {k: v for k, v in metrics.get("central", {}).items() if int(k) == number}
            store.save(make(number, size=1, metrics=told))
            told["evaluate"] |= {k: v for k, v in metrics.get("evaluate", {}).items() if int(k) == number}
            if number in late:
                store.note(told)
        store.note(told)
        best = best_by_hand(store.rounds(), told)
        # Of the rounds still there; one that a later, more telling metric makes the best may be gone.
        link = root / "checkpoint_best.npz"
        assert (best and f"checkpoint_round_{best.round}.npz") == (
            link.readlink().name if link.is_symlink() else None
        )
        assert (store.best() and store.best().round) == (best and best.round)
        assert best is None or link.exists()
    with CheckpointStore(root) as store:
        assert (store.best() and store.best().round) == (best and best.round)
