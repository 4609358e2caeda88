"""What users of Flower's own strategies rely on, re-expressed from the behaviour its unit tests describe.

Where ours differ on purpose, the test says so. The reasons:
docs/decisions/033-our-strategies-differ-from-flowers-in-seven-points.md
"""

import numpy as np
import pytest

from oneflower.aggregation import AggregationError, Update, ordered
from oneflower.aggregation.distances import krum_scores, squared_distances
from oneflower.aggregation.rules.bulyan import bulyan_rule

from .clients import FEWEST, NAMES, aggregated, numpy_of, ours, reply


def replies_of(*models, weights=None):
    weights = weights or [5] * len(models)
    return [
        reply({"0": np.asarray(model)}, node_id=i + 1, num_examples=weight)
        for i, (model, weight) in enumerate(zip(models, weights, strict=True))
    ]


def result_of(strategy, given):
    """Aggregate replies to a model of zeros."""
    start = {name: np.zeros_like(array) for name, array in numpy_of(given[0].content["arrays"]).items()}
    result = numpy_of(aggregated(strategy, start, given)[0])
    return result["0"] if list(result) == ["0"] else result


def test_fedavg_is_numpys_weighted_average_of_several_arrays():
    rng = np.random.default_rng(0)
    models = [{str(k): rng.standard_normal((7, 3)) for k in range(4)} for _ in range(3)]
    weights = [0.25, 0.4, 0.35]
    given = [
        reply(m, node_id=i + 1, num_examples=w) for i, (m, w) in enumerate(zip(models, weights, strict=True))
    ]
    for key, array in result_of(ours("FedAvg"), given).items():
        expected = np.average([m[key] for m in models], axis=0, weights=weights)
        np.testing.assert_allclose(array, expected, rtol=1e-14)


def test_fedavg_averages_arrays_without_dimensions():
    values, weights = [1.5, -2.0, 4.25], [0.25, 0.4, 0.35]
    result = result_of(ours("FedAvg"), replies_of(*values, weights=weights))
    assert result.shape == ()
    assert result == pytest.approx(np.average(values, weights=weights))


def test_trimming_drops_the_least_and_the_greatest_and_ignores_weights():
    """A quarter of four clients from each tail: what is left is the median pair."""
    given = replies_of(
        [0.5, 0.5, 0.5, 0.5],
        [1.0, 0.2, 0.5, 1.0],
        [0.2, 0.5, 1.0, 0.2],
        [0.5, 1.0, 0.2, 0.5],
        weights=[1, 5, 2, 9],
    )
    np.testing.assert_equal(result_of(ours("FedTrimmedAvg", trim_beta=0.25), given), [0.5] * 4)


def test_trimming_keeps_arrays_without_dimensions():
    result = result_of(ours("FedTrimmedAvg", trim_beta=0.25), replies_of(0.5, 1.0, 2.0, 100.0))
    assert result.shape == ()
    assert result == 1.5


def test_trimming_as_much_as_it_can_is_the_median():
    """What FedMedian would give; Flower's beta 0.5 gives NaN or fails, ours is refused."""
    given = replies_of([1.0, 0.2, 0.5, 1.0], [0.2, 0.5, 1.0, 0.2], [0.5, 1.0, 0.2, 0.5], weights=[5, 2, 9])
    np.testing.assert_equal(result_of(ours("FedTrimmedAvg", trim_beta=0.49), given), [0.5] * 4)
    with pytest.raises(AggregationError, match=r"trim_beta is 0\.5"):
        ours("FedTrimmedAvg", trim_beta=0.5)


def test_krum_chooses_the_client_in_the_middle():
    """Flower's own example has three clients and one malicious; the paper's bound asks for five."""
    models = [[v] * 4 for v in (0.2, 0.65, 0.7, 0.75, 1.0)]
    result = result_of(ours("Krum", num_malicious=1), replies_of(*models))
    np.testing.assert_equal(result, [0.7] * 4)
    with pytest.raises(AggregationError, match="given 3 valid updates; expected at least 5"):
        result_of(ours("Krum", num_malicious=1), replies_of(*models[:3]))


def test_the_scores_that_multikrum_would_rank_put_the_two_near_clients_first():
    updates = [Update(client=i, arrays={"w": np.full(4, v)}) for i, v in enumerate((0.2, 0.5, 1.0))]
    scores = krum_scores(squared_distances(updates), 0)
    assert sorted(np.argsort(scores)[:2]) == [0, 1]


def nearest_to_median(rows, malicious):
    """Return the second step of Bulyan over these values of one coordinate each."""
    out = np.empty(1)
    bulyan_rule(len(rows), malicious, 1, np.dtype(np.float64))([np.array([v]) for v in rows], out)
    return out[0]


def test_bulyan_averages_the_values_nearest_the_median():
    assert nearest_to_median([1.0, 2.0, 0.5, 0.9, 50.0], 1) == pytest.approx((1.0 + 0.9 + 0.5) / 3)


def test_bulyan_averages_all_values_where_none_may_be_malicious():
    assert nearest_to_median([1.0, -1.0, 3.0], 0) == 1.0


def test_bulyan_of_values_that_agree_is_that_value():
    assert nearest_to_median([5.0] * 7, 2) == 5.0


def test_bulyan_keeps_shapes_of_several_arrays():
    models = [{"a": np.full((2, 2), v), "b": np.full(3, v)} for v in (1.1, 0.9, 1.0, 1.05, 0.95, 10.0, 1.0)]
    result = result_of(ours("Bulyan"), [reply(m, node_id=i + 1) for i, m in enumerate(models)])
    assert result["a"].shape == (2, 2)
    np.testing.assert_allclose(result["b"], np.ones(3), atol=0.07)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "update", [{str(k): np.ones((7, 3)) for k in range(5)}, {str(k): np.ones((7, 5)) for k in range(4)}]
)
def test_updates_that_do_not_fit_the_model_are_refused_rather_than_broadcast(name, update):
    start = {str(k): np.ones((7, 3)) for k in range(4)}
    sent = ordered(Update(client=i, arrays=update) for i in range(FEWEST))
    with pytest.raises(AggregationError, match="one form"):
        ours(name).aggregate(1, start, sent)
