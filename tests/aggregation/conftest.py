"""Updates to aggregate, and every strategy with parameters that are worth testing."""

from functools import partial

import numpy as np

from oneflower.aggregation import SPECS, Family, Round, Update, ordered, spec_of

SPECS_BY_NAME = {spec.name: spec for spec in SPECS}
# Enough updates for each of them, with one malicious client assumed.
FEWEST = max(spec.example_clients for spec in SPECS)


def values_of(spec, **values):
    """Return the parameters of the spec's example, but for those given."""
    return spec.values(**spec.example | values)


def aggregate(name, given, model=None, number=1, **values):
    """Aggregate updates by one strategy in its first round; the model is all zeros if none is given."""
    spec, updates = spec_of(name), ordered(given)
    if model is None:
        model = {key: np.zeros_like(array) for key, array in updates[0].arrays.items()} if updates else {}
    this_round = Round(number=number, root=root_of(updates))
    return spec.aggregate(updates, model, spec.init(model), values_of(spec, **values), this_round)


def root_of(updates):
    """Return what the server's own training might have made: what one client did that is in the middle."""
    arrays = [update.arrays for update in updates]
    rows = [np.concatenate([np.ravel(array).astype(float) for array in each.values()]) for each in arrays]

    def place(index):
        with np.errstate(over="ignore", invalid="ignore"):
            far = np.abs(rows[index] - np.median(rows, axis=0)).sum()
        return np.nan_to_num(far, nan=np.inf), rows[index].tobytes()

    comparable = len({row.size for row in rows}) == 1
    return arrays[min(range(len(rows)), key=place)] if comparable else None


RULES = {name: partial(aggregate, name) for name in SPECS_BY_NAME}
# A server optimizer's model follows from what was sent too: what holds for means does not hold for it.
# Nor for changes that are cut to a length around it.
AROUND_THE_MODEL = {"CenteredClipping", "FLTrust"}
MEANS = {
    name: rule
    for name, rule in RULES.items()
    if spec_of(name).family is not Family.SERVER_OPTIMIZER and name not in AROUND_THE_MODEL
}
ROBUST = {name: rule for name, rule in RULES.items() if not spec_of(name).weights_by_examples}


def update(arrays, client=0, num_examples=1.0, **metrics):
    named = arrays if isinstance(arrays, dict) else {"w": np.asarray(arrays)}
    return Update(client=client, arrays=named, num_examples=num_examples, metrics=metrics)


def updates(*models, weights=None):
    weights = weights or [10.0 + i for i in range(len(models))]
    return [
        update(model, client=i, num_examples=weight)
        for i, (model, weight) in enumerate(zip(models, weights, strict=True))
    ]


def random_updates(count, shape, seed=0, dtype=np.float32, scale=1.0):
    rng = np.random.default_rng(seed)
    return updates(*[(scale * rng.standard_normal(shape)).astype(dtype) for _ in range(count)])


def stacked(given, name="w"):
    return np.stack([u.arrays[name] for u in given])


def same_bytes(left, right):
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and left[name].tobytes() == right[name].tobytes()
        for name in left
    )
