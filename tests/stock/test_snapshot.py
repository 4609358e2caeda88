"""What a failed attempt of a round has changed of a strategy is put back, in the same objects."""

import random
from collections import OrderedDict, defaultdict, deque

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg

from oneflower.stock.snapshot import snapshot

CHANGES = {
    "list": ([1, 2], lambda value: value.append(3)),
    "dict": ({"a": 1, "b": 2}, lambda value: value.pop("a")),
    "inner": ({"a": [1, {"b": [2]}]}, lambda value: value["a"][1]["b"].append(3)),
    "in a tuple": (([1],), lambda value: value[0].append(2)),
    "ordered": (OrderedDict(a=1, b=2), lambda value: value.move_to_end("a")),
    "counts": (defaultdict(int, a=1), lambda value: value["new"]),
    "set": ({1, 2}, lambda value: value.add(3)),
    "window": (deque([1, 2], maxlen=2), lambda value: value.append(3)),
    "bytes": (bytearray(b"ab"), lambda value: value.extend(b"c")),
    "array": (np.arange(4.0), lambda value: np.multiply(value, 2, out=value)),
    "zero_d": (np.array(4), lambda value: value.fill(5)),
    "config": (ConfigRecord({"lr": 1.0, "sizes": [1]}), lambda value: value["sizes"].append(2)),
    "metrics": (MetricRecord({"loss": 1.0}), lambda value: value.update({"loss": 2.0})),
    "arrays": (
        ArrayRecord({"w": Array(np.zeros(2))}),
        lambda value: value.update({"w": Array(np.ones(2))}),
    ),
}


class Mine(FedAvg):
    pass


@pytest.mark.parametrize("name", CHANGES)
def test_a_value_is_put_back_in_place(name):
    value, change = CHANGES[name]
    mine = Mine()
    mine.value, outside, before = value, value, repr(value)
    put_back = snapshot(mine)
    for _ in range(2):
        change(mine.value)
        assert repr(outside) != before
        put_back()
        assert mine.value is outside
        assert repr(outside) == before


@pytest.mark.parametrize(
    ("make", "draw"),
    [
        (lambda: np.random.default_rng(1), lambda rng: rng.random()),
        (lambda: np.random.RandomState(1), lambda rng: rng.normal()),
        (lambda: random.Random(1), lambda rng: rng.gauss()),
    ],
)
def test_a_generator_draws_the_same_again(make, draw):
    mine = Mine()
    mine.rngs = [make()]
    draw(mine.rngs[0])
    put_back = snapshot(mine)
    first = draw(mine.rngs[0])
    put_back()
    assert draw(mine.rngs[0]) == first


def test_attributes_are_what_they_were():
    mine = DifferentialPrivacyServerSideFixedClipping(
        Mine(), noise_multiplier=0.1, clipping_norm=1.0, num_sampled_clients=2
    )
    mine.strategy.count, mine.model = 1, object()
    model = mine.model
    put_back = snapshot(mine)
    mine.strategy.count, mine.model, mine.strategy.late = 2, None, {}
    put_back()
    assert mine.strategy.count == 1
    assert mine.model is model
    assert not hasattr(mine.strategy, "late")


def test_a_tensor_is_put_back_in_place():
    torch = pytest.importorskip("torch")
    mine = Mine()
    mine.weights = torch.zeros(2)
    mine.parameter = torch.nn.Parameter(torch.ones(2))
    outside = mine.weights
    put_back = snapshot(mine)
    mine.weights += 1
    mine.parameter.data.mul_(3)
    put_back()
    assert outside.tolist() == [0, 0]
    assert mine.parameter.tolist() == [1, 1]


def test_loops_end_and_one_array_is_copied_once():
    array = np.zeros(3)
    mine = Mine()
    mine.me, mine.loop, mine.a, mine.b = mine, [], array, [array]
    mine.loop.append(mine.loop)
    put_back = snapshot(mine)
    array += 1
    put_back()
    assert array.tolist() == [0, 0, 0]
    assert mine.b[0] is array
