"""FLTrust: each change counts as far as it points where the server's own change on trusted data does."""

from typing import Any

import numpy as np

from oneflower.aggregation.blocks import BlockRule, Rows
from oneflower.aggregation.mean import mean_of
from oneflower.aggregation.parameter import Values
from oneflower.aggregation.spec import Aggregate, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, NDArray, Ordered

FIRST = 2
"""Place of the first client's point: the model and the server's own come before."""


def apply(updates: Ordered, model: Arrays, state: State, _values: Values, this_round: Round) -> Aggregate:
    """Return x + (1 / sum_j TS_j) sum_i TS_i (|g_0| / |g_i|) g_i, where TS_i = max(0, cos(g_i, g_0)).

    Cao et al. 2021, "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping", algorithm 2 and
    equations 2 to 4: g_0 is the server's change of the model x on its root data, g_i a client's. Where no
    client points into its half of the space the model stays as it is. Integers get the plain mean.
    """
    mixed = this_round.points(updates)
    points = mixed.beside(model, this_round.root or model)  # without one `StrategySpec` has refused the round
    shares = trusted_shares(points.products(0))
    floats = [name for name, array in model.items() if array.dtype.kind == "f"]
    whole = [name for name in model if name not in floats]
    moved = points.of(floats).combine(lambda _size, dtype: moving_rule(shares, dtype), this_round.allocate)
    counted = mixed.of(whole).combine(lambda *_: mean_of, this_round.allocate)
    new = {name: moved.model[name] if name in moved.model else counted.model[name] for name in model}
    return Aggregate(model=new, state=state, used=updates)


def trusted_shares(products: NDArray) -> list[float]:
    """Return the factor of each client's change, from inner products around the model; 0 without trust."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        lengths = np.sqrt(np.diagonal(products))
        cosines = products[1, FIRST:] / (lengths[1] * lengths[FIRST:])
        trust = np.where(np.isfinite(cosines), np.maximum(cosines, 0.0), 0.0)
        if not trust.any():
            return [0.0] * len(trust)
        factors = trust / trust.sum() * lengths[1] / lengths[FIRST:]
    return [float(factor) for factor in np.where(trust > 0, factors, 0.0)]


def moving_rule(shares: list[float], dtype: np.dtype[Any]) -> BlockRule:
    """Return the rule out = x + sum_i shares[i] * (rows[i] - x), in float64: small changes may count much."""

    def apply(rows: Rows, out: NDArray) -> None:
        sent = rows[0].astype(np.float64)
        moved = sent.copy()
        for row, share in zip(rows[FIRST:], shares, strict=True):
            if share:
                moved += share * (row - sent)
        out[...] = moved.astype(dtype, copy=False)

    return apply


SPEC = StrategySpec(
    name="FLTrust",
    family=Family.ROBUST,
    summary="Trusts clients as far as they agree with the app's own training on held-out data",
    source="Cao et al. 2021",
    apply=apply,
    weights_by_examples=False,
    withstands=lambda _values, count: count,
    example_clients=5,
    needs_root=True,
)
