"""The streaming mean: one result for every order, against exact fractions, and what leaves no trace."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneflower.aggregation import Folding, bound_changes, folded_bytes, ordered
from oneflower.aggregation import folding as module
from oneflower.aggregation.blocks import FileMap
from oneflower.aggregation.mean import weighted_mean

from .conftest import RULES, random_updates, update, values_of

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
WEIGHTS = st.one_of(
    st.integers(1, 2**53).map(float), st.floats(min_value=5e-324, max_value=2.0**53), st.integers(1, 5_000)
)


def folded(sent, arrivals, final=None):
    sums = Folding(sent)
    for each in arrivals:
        sums.add(each)
    return sums.mean(ordered(arrivals if final is None else final)).model


def exact_mean(given_updates, index):
    weights = [Fraction(each.num_examples) for each in given_updates]
    values = [Fraction(float(each.arrays["w"][index])) for each in given_updates]
    return sum(w * x for w, x in zip(weights, values, strict=True)) / sum(weights)


@st.composite
def rounds(draw, values=FINITE, weights=WEIGHTS):
    """A model of three values and up to six updates of any finite values and weights, in some order."""
    count = draw(st.integers(1, 6))
    row = st.lists(values, min_size=3, max_size=3).map(lambda row: np.array(row, np.float32))
    sent = {"w": draw(row)}
    return sent, [update(draw(row), i, draw(weights)) for i in range(count)]


@settings(max_examples=150, deadline=None)
@given(rounds(), st.randoms(use_true_random=False))
def test_every_order_gives_the_same_bytes_for_any_finite_updates(given_round, random):
    sent, arrivals = given_round
    shuffled = random.sample(arrivals, len(arrivals))
    first, second = folded(sent, arrivals)["w"], folded(sent, shuffled)["w"]
    assert first.tobytes() == second.tobytes()
    assert np.isfinite(first).all()


@settings(max_examples=200, deadline=None)
@given(rounds())
def test_the_error_is_half_a_unit_and_a_small_share_of_the_largest_summand(given_round):
    """2^-28 of the largest summand for each update: HEADROOM and RANGE leave that many bits at the least."""
    sent, arrivals = given_round
    result = folded(sent, arrivals)["w"]
    total = sum(Fraction(each.num_examples) for each in arrivals)
    largest = max(
        Fraction(each.num_examples) * Fraction(float(np.abs(each.arrays["w"]).max())) for each in arrivals
    )
    for i, value in enumerate(result):
        exact = exact_mean(arrivals, i)
        unit = (
            Fraction(float(np.spacing(np.abs(np.float32(exact)))))
            if abs(exact) < 3e38
            else Fraction(2) ** 104
        )
        assert abs(Fraction(float(value)) - exact) <= unit * Fraction(501, 1000) + largest / total / 2**25


@pytest.mark.parametrize("count", [2, 10, 50])
def test_ordinary_weights_give_the_correctly_rounded_mean(count):
    """What a training has: values of one size, whole numbers of examples."""
    sent = random_updates(1, 300, seed=9)[0].arrays
    arrivals = random_updates(count, 300, seed=count)
    result = folded(sent, arrivals)["w"]
    expected = [np.float32(float(exact_mean(arrivals, i))) for i in range(300)]
    assert result.tolist() == expected


def test_no_more_than_a_sum_for_each_array_is_kept():
    sent = random_updates(1, (30, 40))[0].arrays
    sums = Folding(sent)
    for each in random_updates(20, (30, 40)):
        sums.add(each)
    assert [len(each.sums) for each in sums._sums.values()] == [1]


@settings(max_examples=60, deadline=None)
@given(rounds(), st.data())
def test_an_update_that_is_taken_out_leaves_no_trace(given_round, data):
    sent, arrivals = given_round
    kept = arrivals[: data.draw(st.integers(1, len(arrivals)))]
    assert folded(sent, arrivals, kept)["w"].tobytes() == folded(sent, kept)["w"].tobytes()


def test_the_scale_of_an_update_that_is_taken_out_is_forgotten():
    """Its sums, divided by the few examples that are left, are beyond float64."""
    sent = {"w": np.ones(3, np.float32)}
    arrivals = [
        update(np.full(3, 3e38, np.float32), 1, 2.0**53),
        update(np.full(3, 0.5, np.float32), 2, 1e-300),
    ]
    assert folded(sent, arrivals, arrivals[1:])["w"].tolist() == [0.5] * 3


def test_a_bounded_update_takes_the_place_of_the_one_that_came():
    sent = {"w": np.zeros(500, np.float32)}
    arrivals = random_updates(5, 500, scale=0.01)
    arrivals[2] = replace(arrivals[2], arrays={"w": np.full(500, 3e38, np.float32)})
    arrivals[3] = replace(arrivals[3], num_examples=1e9)
    lighter = [replace(each, num_examples=min(each.num_examples, 200.0)) for each in arrivals]
    bounded = bound_changes(ordered(lighter), sent, 10.0).updates
    assert any(each.arrays is not arrivals[each.client].arrays for each in bounded)
    assert folded(sent, arrivals, bounded)["w"].tobytes() == folded(sent, bounded)["w"].tobytes()


def test_sums_that_leave_64_bits_are_taken_again_with_fewer():
    """More than 64 updates, each as heavy as the accumulator's range allows."""
    sent = {"w": np.ones(4, np.float32)}
    arrivals = [update(np.full(4, 1.5, np.float32), i, 2.0**22 - 1) for i in range(80)]
    assert folded(sent, arrivals)["w"].tolist() == [1.5] * 4
    assert folded(sent, arrivals[::-1])["w"].tolist() == [1.5] * 4


def test_other_dtypes_have_the_mean_that_they_have_without_streaming():
    sent = {
        "w": np.zeros(3, np.float32),
        "half": np.zeros(3, np.float16),
        "double": np.zeros(3),
        "count": np.array(0, np.int64),
        "empty": np.zeros((0, 2), np.float32),
    }
    rng = np.random.default_rng(1)
    arrivals = [
        update(
            {name: (100 * rng.random(each.shape)).astype(each.dtype) for name, each in sent.items()},
            i,
            3.0 + i,
        )
        for i in range(4)
    ]
    ours, theirs = folded(sent, arrivals), weighted_mean(ordered(arrivals)).model
    assert list(ours) == list(theirs)
    for name in ("double", "count", "empty"):
        assert ours[name].tobytes() == theirs[name].tobytes()
        assert (ours[name].shape, ours[name].dtype) == (sent[name].shape, sent[name].dtype)
    np.testing.assert_allclose(ours["half"], theirs["half"], rtol=2e-3)
    assert folded_bytes(sent) == 3 * 4 + 3 * 2


def test_the_kernel_and_numpy_give_the_same_bytes(monkeypatch):
    sent = {"w": random_updates(1, 70_001)[0].arrays["w"], "h": np.ones(9, np.float16)}
    arrivals = [
        replace(each, arrays={**each.arrays, "h": np.full(9, 0.1 * i, np.float16)})
        for i, each in enumerate(random_updates(5, 70_001, seed=4))
    ]
    arrivals.append(replace(arrivals[0], client=9, num_examples=1e-9))  # a sum of its own
    ours = folded(sent, arrivals)
    monkeypatch.setattr(module, "kernel", lambda: None)
    theirs = folded(sent, arrivals)
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in sent)


@pytest.mark.parametrize("name", ["FedAvg", "FedProx", "FedAdam", "FedYogi", "FedAdagrad", "FedAvgM"])
def test_the_rules_of_means_take_the_mean_from_the_sums(name):
    from oneflower.aggregation import Round, spec_of

    spec, sent = spec_of(name), random_updates(1, 2_000, seed=8)[0].arrays
    arrivals = random_updates(4, 2_000, seed=5)
    sums = Folding(sent)
    for each in arrivals:
        sums.add(each)
    assert spec.streams
    made = spec.aggregate(ordered(arrivals), sent, spec.init(sent), values_of(spec), Round(folded=sums.mean))
    plain = spec.aggregate(ordered(arrivals), sent, spec.init(sent), values_of(spec), Round())
    np.testing.assert_allclose(made.model["w"], plain.model["w"], rtol=0, atol=2e-3)
    assert made.used == ordered(arrivals)


def test_robust_rules_do_not_stream():
    from oneflower.aggregation import SPECS

    assert {spec.name for spec in SPECS if spec.streams} == {
        name
        for name in RULES
        if not any(spec.name == name and not spec.weights_by_examples for spec in SPECS)
    }


def test_pages_of_a_file_leave_memory_once_they_were_read(tmp_path):
    """The resident part of the file's mapping stays a few pieces, whatever the size of the array."""
    from oneflower.aggregation.checks import is_finite

    size = 12_000_000
    with (tmp_path / "reply").open("w+b") as file:
        file.truncate(4 * size)
        mapped = FileMap(file.fileno(), 4 * size)
    values = np.frombuffer(memoryview(mapped), np.float32)
    assert is_finite(values)
    sums = Folding({"w": np.zeros(size, np.float32)})
    sums.add(update(values, 1, 2.0))
    assert not _resident_kb(tmp_path / "reply")


def _resident_kb(path):
    from pathlib import Path

    here, resident = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            here = line.endswith(str(path))
        elif here and words[0] == "Rss:":
            resident += int(words[1])
    return resident
