"""The compiled kernel gives the bytes of NumPy, on ordinary and on hostile values."""

import re
from pathlib import Path

import numpy as np
import pytest

from oneflower.aggregation import AggregationError, Round, compiled, ordered, spec_of
from oneflower.aggregation import kernel as kernel_module
from oneflower.aggregation.checks import is_finite
from oneflower.aggregation.compiled import LIBRARY, SOURCES, Choice
from oneflower.aggregation.distances import squared_distances
from oneflower.aggregation.kernel import Kernel
from oneflower.aggregation.kernel_check import awkward_rows, difference, products_in_order
from oneflower.aggregation.mean import weighted_mean
from oneflower.aggregation.points import Points, Use
from oneflower.aggregation.rules.bulyan import iterated_krum
from oneflower.aggregation.rules.fedtrimmedavg import trimmed_mean
from oneflower.aggregation.rules.krum import krum

from .conftest import FEWEST, SPECS_BY_NAME, aggregate, same_bytes, update, updates, values_of
from .exact import SCALES, exact_distances, random_rows, selection

DTYPES = [np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_]
FLOATS = [np.float32, np.float64]
SIZES = [0, 1, 7, 129, 4_097, 33_000]
COUNTS = [1, 2, 3, 7, 10, 11, 12, 50]


@pytest.fixture(scope="module")
def built():
    """The kernel of this source, if there was a compiler when oneflower was installed."""
    if not LIBRARY.exists():
        pytest.skip("oneflower was installed without a C compiler")
    return Kernel(LIBRARY)


@pytest.fixture
def both(built, monkeypatch):
    """Return what an action gives with the kernel and without it."""

    def run(action):
        results = []
        for used in (built, None):
            monkeypatch.setattr(compiled, "choice", lambda used=used: Choice(used))
            results.append(action())
        return results

    return run


def ordinary(rng, dtype, size):
    values = rng.standard_normal(size) * 10
    return values > 0 if dtype is np.bool_ else values.astype(np.float64).astype(np.int8).astype(dtype)


def hostile(rng, dtype, size):
    """Values of every kind that a float has, most of them finite."""
    if not np.issubdtype(dtype, np.floating):
        return ordinary(rng, dtype, size)
    limits = np.finfo(dtype)
    odd = [0.0, -0.0, limits.smallest_subnormal, -limits.smallest_normal, limits.max, -limits.max, 1.0, 1 / 3]
    values = rng.choice(np.array(odd, dtype), size)
    values[rng.random(size) < 0.3] = dtype(rng.standard_normal())
    return values


def with_nan(rng, dtype, size):
    values = hostile(rng, dtype, size)
    if np.issubdtype(dtype, np.floating):
        values[rng.random(size) < 0.01] = rng.choice(np.array([np.nan, np.inf, -np.inf], dtype))
    return values


def same(left, right):
    """Whether two models have the same bytes; which NaN a NaN is does not count."""
    return all(
        np.array_equal(left[name], right[name], equal_nan=left[name].dtype.kind == "f")
        and (np.signbit(left[name]) == np.signbit(right[name]))[~np.isnan(left[name].astype(float))].all()
        for name in left
    )


def cases(dtype, kind, sizes=SIZES, counts=COUNTS):
    rng = np.random.default_rng(7)
    for size in sizes:
        for count in counts if size < 5_000 else (3, 11):
            yield [kind(rng, dtype, size) for _ in range(count)]


@pytest.mark.parametrize("kind", [ordinary, hostile, with_nan])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_weighted_mean_has_the_bytes_of_numpy(both, dtype, kind):
    for rows in cases(dtype, kind):
        given = ordered(updates(*rows))
        with np.errstate(all="ignore"):
            with_kernel, without = both(lambda given=given: weighted_mean(given).model)
        assert same(with_kernel, without)


@pytest.mark.parametrize("kind", [ordinary, hostile, with_nan])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_trimmed_mean_has_the_bytes_of_numpy(both, dtype, kind):
    for rows in cases(dtype, kind):
        points = Points(ordered(updates(*rows)))
        for cut in {0, len(rows) // 5, (len(rows) - 1) // 2}:
            with np.errstate(all="ignore"):
                with_kernel, without = both(
                    lambda points=points, cut=cut: (
                        trimmed_mean(points, cut, lambda _, x: np.empty_like(x)).model
                    )
                )
            assert same(with_kernel, without)


@pytest.mark.parametrize("kind", [ordinary, hostile, with_nan])
@pytest.mark.parametrize("dtype", [*FLOATS, np.float16])
def test_the_finite_check_is_that_of_numpy(both, dtype, kind):
    for row, *_ in cases(dtype, kind, counts=(1,)):
        with_kernel, without = both(lambda row=row: is_finite(row))
        assert with_kernel == without == bool(np.isfinite(row).all())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 31, 32, 100, 130])
def test_one_value_that_is_not_finite_is_found_wherever_it_is(built, dtype, value, place):
    values = np.ones(131, dtype)
    assert built.finite(values) is True
    values[place] = value
    assert built.finite(values) is False


@pytest.mark.parametrize("name", sorted(SPECS_BY_NAME))
@pytest.mark.parametrize("kind", [ordinary, hostile])
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_strategy_gives_the_same_model_and_state_for_two_rounds(both, name, kind, dtype):
    """With values that overflow it raises the same error, and changes nothing."""
    rng = np.random.default_rng(3)
    spec = spec_of(name)

    def trained():
        values, model = values_of(spec), {"w": sent.copy(), "n": np.array(5)}
        state, seen = spec.init(model), []
        for number in (1, 2):
            this_round = Round(number=number, root=given[0].arrays)
            try:
                made = spec.aggregate(given, model, state, values, this_round)
            except AggregationError as error:
                return str(error), {key: array.copy() for key, array in state.items()}
            seen.append(
                dict(made.model) | {f"state/{key}": array.copy() for key, array in made.state.items()}
            )
            model, state = made.model, made.state
        return seen

    for size in (1, 9, 4_100, 33_000):
        sent = ordinary(rng, dtype, size) / dtype(8)
        rows = [{"w": kind(rng, dtype, size), "n": np.array(5 + i)} for i in range(FEWEST)]
        given = ordered(updates(*rows))
        with np.errstate(all="ignore"):
            with_kernel, without = both(trained)
        if isinstance(without, tuple):
            assert with_kernel[0] == without[0]
            assert same_bytes(with_kernel[1], without[1])
        else:
            assert all(map(same_bytes, with_kernel, without))


@pytest.mark.parametrize("name", ["FedAvg", "FedAdam", "FedTrimmedAvg"])
def test_a_result_that_goes_past_the_caches_has_the_same_bytes(both, name):
    rng = np.random.default_rng(5)
    rows = [rng.standard_normal(1_100_003).astype(np.float32) for _ in range(5)]
    with_kernel, without = both(lambda: aggregate(name, updates(*rows)).model)
    assert same_bytes(with_kernel, without)


def unaligned(values):
    memory = bytearray(values.nbytes + 1)
    array = np.frombuffer(memory, values.dtype, values.size, offset=1)
    array[:] = values
    return array


LAYOUTS = {
    "unaligned": unaligned,
    "every second": lambda values: np.repeat(values, 2)[::2],
    "backwards": lambda values: values[::-1].copy()[::-1],
    "columns first": lambda values: np.asfortranarray(values.reshape(3, -1)),
    "foreign byte order": lambda values: values.astype(values.dtype.newbyteorder()),
    "read-only": lambda values: np.frombuffer(values.tobytes(), values.dtype),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["FedAvg", "FedTrimmedAvg", "Krum", "FedAvgM"])
def test_arrays_in_any_layout_are_read_as_they_are(both, name, dtype, layout):
    rng = np.random.default_rng(2)
    plain = [rng.standard_normal(300).astype(dtype) for _ in range(FEWEST)]
    shape = (3, -1) if layout == "columns first" else (-1,)
    with_kernel, without = both(
        lambda: aggregate(name, updates(*map(LAYOUTS[layout], plain))).model["w"].tobytes()  # noqa: PLW0108
    )
    expected = aggregate(name, updates(*(row.reshape(shape) for row in plain))).model["w"].tobytes()
    assert with_kernel == without
    assert without == expected or layout == "foreign byte order"


def test_what_does_not_suit_is_left_to_numpy(built):
    row = np.ones(8, np.float32)
    whole = built.mean([0.5, 0.5])
    for rows, out in (
        ([row, row], np.empty(7, np.float32)),  # another length
        ([row, row.astype(np.float64)], np.empty(8, np.float32)),  # several dtypes
        ([row], np.empty(8, np.float32)),  # not as many rows as shares
        ([row, row], np.empty((2, 4), np.float32)),
        ([row, row], unaligned(row)),
        ([row, np.ones(16, np.float32)[::2]], np.empty(8, np.float32)),
        ([row, row], np.frombuffer(row.tobytes(), np.float32)),  # read-only
    ):
        before = out.tobytes()
        assert whole("w", rows, out)
        assert out.tobytes() == before
    assert built.finite(np.ones(4, np.float16)) is None
    assert built.products([row, row.astype(np.float64)], np.dtype(np.float64)) is None
    assert built.products([row, row[:4]], np.dtype(np.float32)) is None
    assert built.products([row.astype(np.float64)] * 2, np.dtype(np.float32)) is None


@pytest.mark.parametrize("work", FLOATS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_inner_products_are_summed_in_the_documented_order(built, dtype, work):
    if np.dtype(work).itemsize < np.dtype(dtype).itemsize:
        return
    rng = np.random.default_rng(11)
    for count in (1, 2, 3, 4, 5, 7, 10, 11):
        for size in (0, 1, 8, 511, 512, 513, 1_100):
            rows = list(rng.standard_normal((count, size)).astype(dtype))
            found = built.products(rows, np.dtype(work))
            assert np.array_equal(found, products_in_order(rows, np.dtype(work)))
    rows = awkward_rows(6, 600, np.dtype(dtype))
    with np.errstate(all="ignore"):
        expected = products_in_order(rows, np.dtype(work))
    assert np.array_equal(built.products(rows, np.dtype(work)), expected, equal_nan=True)


@pytest.mark.parametrize("spread", [0, 3, 40])
@pytest.mark.parametrize("dtype", SCALES)
def test_both_select_what_the_papers_do(both, dtype, spread):
    """Up to ties of rounding, at every scale that a dtype holds."""
    rng = np.random.default_rng(100 + int(spread))
    for _ in range(25):
        count = int(rng.integers(5, 12))
        rows = random_rows(rng, dtype, count, size=int(rng.integers(1, 40)), spread=spread)
        exact, given = exact_distances(rows), updates(*rows)
        malicious, fewer = int(rng.integers(0, (count - 3) // 2 + 1)), (count - 3) // 4
        for distances in both(lambda given=given: squared_distances(given)):
            assert selection(distances, exact, malicious, 1).excess < 1e-5
            assert selection(distances, exact, fewer, count - 2 * fewer).excess < 1e-5


@pytest.mark.parametrize("dtype", [*FLOATS, np.float16])
@pytest.mark.parametrize("attack", [0.0, 1e-3, 30.0, 1e4])
def test_both_select_the_same_updates(both, dtype, attack):
    rng = np.random.default_rng(9)
    for size in (3, 200, 20_000):
        base = rng.standard_normal(size)
        honest = [base + 0.1 * rng.standard_normal(size) for _ in range(9)]
        evil = [base + attack * rng.standard_normal() for _ in range(2)]
        given = ordered(updates(*(row.astype(dtype) for row in [*honest, *evil])))

        def chosen(given=given):
            points = Points(given)
            order = np.argsort(points.central(Use.SELECT).distances, axis=1, kind="stable")
            picks = [
                [krum(points, 2)],
                iterated_krum(points.squared_distances(), 2, 7),
                *order[:, :9].tolist(),
            ]
            # Of equal updates BLAS may score one lower than the other.
            return [sorted(given[i].arrays["w"].tobytes() for i in some) for some in picks]

        with_kernel, without = both(chosen)
        assert with_kernel == without


@pytest.mark.parametrize("name", ["GeometricMedian", "CenteredClipping", "FLTrust"])
def test_products_that_become_weights_are_numpys(both, name):
    """Their roundings would be in the model: the kernel's products differ from BLAS's in the last bits."""
    rng = np.random.default_rng(4)
    rows = [rng.standard_normal(5_000).astype(np.float32) for _ in range(FEWEST)]
    with_kernel, without = both(lambda: aggregate(name, updates(*rows)).model)
    assert same_bytes(with_kernel, without)


def test_the_constants_of_the_source_are_those_of_the_calls():
    text = "".join(Path(source).read_text(encoding="utf-8") for source in SOURCES)
    for name, ours in (
        ("TILE", "TILE"),
        ("DEPTH", "DEPTH"),
        ("VECTOR_BYTES", "VECTOR_BYTES"),
        ("LINE", "LINE_BYTES"),
    ):
        (value,) = re.findall(rf"^#define {name} +(\d+)", text, re.MULTILINE)
        assert int(value) == getattr(kernel_module, ours)


def test_too_little_memory_for_products_is_refused(built, monkeypatch):
    monkeypatch.setattr(kernel_module, "DEPTH", 8)
    assert built.products([np.ones(9, np.float32)] * 3, np.dtype(np.float32)) is None


def test_no_difference_is_found_on_this_machine(built):
    assert difference(built) == ""


def test_a_reply_that_overflows_raises_the_same_error(both):
    model, spec = {"w": np.zeros(40, np.float32)}, spec_of("FedAdam")

    def failed():
        given = ordered([update(np.full(40, 1e22, np.float32), client=i) for i in range(3)])
        with pytest.raises(AggregationError) as raised:
            spec.aggregate(given, model, spec.init(model), spec.values(), Round())
        return str(raised.value)

    with_kernel, without = both(failed)
    assert with_kernel == without
