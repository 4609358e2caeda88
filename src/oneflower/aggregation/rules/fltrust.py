"""FLTrust: each change counts as far as it points where the server's own change on trusted data does."""

from typing import Any

import numpy as np

from oneflower.aggregation.blocks import BlockRule, Rows
from oneflower.aggregation.norms import Kind, kinds_of
from oneflower.aggregation.parameter import Values
from oneflower.aggregation.points import Points, Use
from oneflower.aggregation.spec import Aggregate, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import Arrays, NDArray, Ordered

FIRST = 2
"""Place of the first client's point: the model and the server's own come before."""


def apply(updates: Ordered, model: Arrays, state: State, _values: Values, this_round: Round) -> Aggregate:
    """Return x + (1 / sum_j TS_j) sum_i TS_i (|g_0| / |g_i|) g_i, where TS_i = max(0, cos(g_i, g_0)).

    Cao et al. 2021, "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping", algorithm 2 and
    equations 2 to 4: g_0 is the server's change of the weights x on its root data, g_i a client's.
    Statistics of BatchNorm say nothing of trust: they move to the trusted clients' mean, each by at most
    the length of the server's change. Integers are the server's. Where no client points into the server's
    half of the space the rest stays as it is.
    """
    mixed, root, kinds = this_round.points(updates), this_round.root or {}, kinds_of(model)
    points = mixed.beside(model, root)
    weights, statistics = (points.of(kinds[kind]) for kind in (Kind.WEIGHTS, Kind.STATISTICS))
    products = weights.products(0, Use.WEIGH)
    trust = shares_of_trust(products)
    shares = mixed.shares(tuple(map(float, trust)))
    trusted = [place for place, share in enumerate(trust) if share]
    counted = {name: root[name] for name in kinds[Kind.COUNTERS]}
    if not trusted:
        return Aggregate(model={**model, **counted}, state=state, used=(), shares=shares)
    capped = np.minimum(
        to_servers_length(statistics.products(0, Use.WEIGH)), 1.0
    )  # beyond the mean is no variance
    new = {
        **counted,
        **moved(weights, trust * to_servers_length(products), this_round),
        **moved(statistics, trust * capped, this_round),
    }
    used = mixed.only(trusted).used
    return Aggregate(model={name: new[name] for name in model}, state=state, used=used, shares=shares)


def shares_of_trust(products: NDArray) -> NDArray:
    """Return each client's TS_i / sum_j TS_j from inner products around the model; all 0 without trust."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        lengths = np.sqrt(np.diagonal(products))
        cosines = products[1, FIRST:] / (lengths[1] * lengths[FIRST:])
    trust = np.where(np.isfinite(cosines), np.maximum(cosines, 0.0), 0.0)
    return trust / trust.sum() if trust.any() else trust


def to_servers_length(products: NDArray) -> NDArray:
    """Return what makes each client's change as long as the server's; 0 for one without a length."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        lengths = np.sqrt(np.diagonal(products))
        factors = lengths[1] / lengths[FIRST:]
    return np.where(np.isfinite(factors), factors, 0.0)


def moved(points: Points, shares: NDArray, this_round: Round) -> dict[str, NDArray]:
    """Return the arrays of the model, moved by these shares of the clients' changes."""
    kept = [(place, float(share)) for place, share in enumerate(shares, start=FIRST) if share]

    def make(_size: int, dtype: np.dtype[Any]) -> BlockRule:
        def apply(rows: Rows, out: NDArray) -> None:
            sent = rows[0].astype(np.float64)  # a small change may count much
            new = sent.copy()
            for place, share in kept:
                new += share * (rows[place] - sent)
            out[...] = new.astype(dtype, copy=False)

        return apply

    return points.combine(make, this_round.allocate).model


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
