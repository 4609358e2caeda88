"""What an app's own strategy keeps from round to round comes back, value for value and type for type."""

import random
from collections import OrderedDict, defaultdict, deque

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAdam, FedAvg

from oneflower.bounded_json import Bounds
from oneflower.errors import CheckpointError
from oneflower.stock.kept_state import KeptState
from oneflower.stock.values import DOCUMENT

VALUES = {
    "number": 3,
    "large": 2**200,
    "negative": -1,
    "real": 0.1,
    "infinite": float("inf"),
    "text": "ä\n",
    "nothing": None,
    "yes": True,
    "raw": b"\x00\xff",
    "scalar": np.float32(0.1),
    "array": np.arange(6, dtype=np.float16).reshape(2, 3),
    "empty": np.zeros((0, 3)),
    "zero_d": np.array(4),
    "list": [1, [2.5, "x"], (3, None)],
    "set": {1, 2, 3},
    "deque": deque([1, 2]),
    "window": deque([1, 2], maxlen=3),
    "counts": {"a": defaultdict(int, b=2)},
    "dict": {1: "a", "b": {"c": np.ones(2)}, (1, 2): 3},
    "ordered": OrderedDict(z=1, a=2),
    "arrays": [np.zeros(2), np.ones(3, np.int64)],
}


class Holder(FedAvg):
    pass


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_as_it_was(name):
    before = Holder()
    kept = KeptState(before)
    before.value = VALUES[name]
    state, lost = kept.save()
    assert not lost
    after = Holder()
    KeptState(after).load(state)
    assert type(after.value) is type(VALUES[name])
    assert repr(after.value) == repr(VALUES[name])


def test_nan_and_bits_are_exact():
    before = Holder()
    kept = KeptState(before)
    before.value = np.array([np.nan, -0.0, 1e-45], np.float32)
    after = Holder()
    KeptState(after).load(kept.save()[0])
    assert after.value.tobytes() == before.value.tobytes()


def test_records_of_flower_come_back():
    before = Holder()
    kept = KeptState(before)
    before.arrays = ArrayRecord({"w": _flower_array(np.arange(3))})
    before.metrics = MetricRecord({"a": [1.0, 2.0], "b": 3})
    before.config = ConfigRecord({"lr": 0.1, "name": "x", "raw": b"1"})
    after = Holder()
    KeptState(after).load(kept.save()[0])
    assert after.arrays["w"].numpy().tolist() == [0, 1, 2]
    assert dict(after.metrics) == dict(before.metrics)
    assert dict(after.config) == dict(before.config)


def _flower_array(values):
    from flwr.app import Array

    return Array(values)


def test_what_has_not_changed_is_not_kept():
    """It is the app's configuration: its author may change it between two runs."""
    before = FedAdam(eta=0.5)
    kept = KeptState(before)
    before.m_t = {"w": np.ones(2)}
    state, _ = kept.save()
    after = FedAdam(eta=0.25)
    KeptState(after).load(state)
    assert after.eta == 0.25
    assert after.m_t["w"].tolist() == [1, 1]


def test_what_came_from_a_checkpoint_is_kept_on():
    first = Holder()
    kept = KeptState(first)
    first.count = 1
    second = Holder()
    again = KeptState(second)
    again.load(kept.save()[0])
    third = Holder()
    KeptState(third).load(again.save()[0])
    assert third.count == 1


def test_a_wrapped_strategy_and_its_wrapper_are_kept():
    def make():
        return DifferentialPrivacyServerSideFixedClipping(
            FedAdam(), noise_multiplier=0.1, clipping_norm=1.0, num_sampled_clients=2
        )

    before = make()
    kept = KeptState(before)
    before.seen = 3
    before.strategy.v_t = {"w": np.ones(1)}
    after = make()
    KeptState(after).load(kept.save()[0])
    assert after.seen == 3
    assert after.strategy.v_t["w"].tolist() == [1]


def test_generators_go_on_where_they_were():
    before = Holder()
    before.numpy, before.python = np.random.default_rng(1), random.Random(1)
    kept = KeptState(before)
    before.numpy.random(), before.python.random()
    state, lost = kept.save()
    assert not lost
    after = Holder()
    after.numpy, after.python = np.random.default_rng(9), random.Random(9)
    KeptState(after).load(state)
    assert after.numpy.random() == before.numpy.random()
    assert after.python.random() == before.python.random()


def test_generators_in_containers_go_on_too():
    before = Holder()
    kept = KeptState(before)
    before.rngs = {0: np.random.default_rng(1), 1: [random.Random(2)], 2: np.random.RandomState(3)}
    before.rngs[0].random(), before.rngs[1][0].random(), before.rngs[2].normal()
    after = Holder()
    KeptState(after).load(kept.save()[0])
    assert after.rngs[0].random() == before.rngs[0].random()
    assert after.rngs[1][0].random() == before.rngs[1][0].random()
    assert after.rngs[2].normal() == before.rngs[2].normal()


def test_a_callable_object_is_no_code():
    class Schedule:
        step = 0

        def __call__(self):
            return self.step

    holder = Holder()
    kept = KeptState(holder)
    holder.schedule, holder.rule = Schedule(), len
    assert list(kept.save()[1]) == ["schedule"]


def test_an_attribute_named_as_the_config_of_messages_is_its_own():
    holder = Holder()
    kept = KeptState(holder, also={"train_config": ConfigRecord({"lr": 1.0})})
    holder.train_config = 99.0
    after = Holder()
    KeptState(after, also={"train_config": ConfigRecord({"lr": 2.0})}).load(kept.save()[0])
    assert after.train_config == 99.0


def test_one_attribute_that_is_too_large_takes_no_other_with_it(monkeypatch):
    monkeypatch.setattr("oneflower.stock.kept_state.ENOUGH", Bounds(most_bytes=2000, most_values=100))
    holder = Holder()
    kept = KeptState(holder)
    holder.long, holder.small = list(range(200)), 7
    state, lost = kept.save()
    assert list(lost) == ["long"]
    after = Holder()
    KeptState(after).load(state)
    assert after.small == 7


def test_what_has_changed_since_a_snapshot_is_set_back():
    holder = Holder()
    holder.velocity, holder.rounds = {}, 0
    kept = KeptState(holder)
    put_back = kept.snapshot()
    holder.velocity["w"], holder.rounds = np.ones(2), 1
    put_back()
    assert (holder.velocity, holder.rounds) == ({}, 0)


def test_a_defaultdict_stays_one():
    before = Holder()
    before.counts = defaultdict(int)
    kept = KeptState(before)
    before.counts["a"] += 2
    after = Holder()
    after.counts = defaultdict(int)
    KeptState(after).load(kept.save()[0])
    assert after.counts == {"a": 2}
    assert after.counts["new"] == 0


def test_a_config_of_messages_is_changed_in_place():
    config = ConfigRecord({"lr": 1.0})
    kept = KeptState(Holder(), also={"train_config": config})
    config["lr"] = 0.5
    other = ConfigRecord({"lr": 1.0, "gone": 1})
    KeptState(Holder(), also={"train_config": other}).load(kept.save()[0])
    assert dict(other) == {"lr": 0.5}


def test_what_cannot_be_kept_is_named_with_its_type():
    class Model:
        pass

    holder = Holder()
    kept = KeptState(holder)
    holder.model, holder.words, holder.fine = Model(), np.array(["a"]), 1
    state, lost = kept.save()
    assert lost.keys() == {"model", "words"}
    assert lost["model"].endswith("Model")
    assert lost["words"] == "an array of dtype <U1"
    after = Holder()
    KeptState(after).load(state)
    assert after.fine == 1


def test_one_object_of_two_attributes_is_one_object_again():
    before = Holder()
    before.a = []
    before.b, before.inner = before.a, {"deep": [before.a]}
    before.m = before.n = np.zeros(2)
    kept = KeptState(before)
    before.a.append(1)
    before.m += 1
    state, lost = kept.save()
    assert not lost
    after = Holder()
    KeptState(after).load(state)
    after.a.append(2)
    after.m += 1
    assert after.b == after.inner["deep"][0] == [1, 2]
    assert after.n.tolist() == [2, 2]


def test_an_object_that_became_another_attribute_is_one_object_again():
    """Nothing of `b` has changed but which list it is."""
    before = Holder()
    before.a, before.b = [1], []
    kept = KeptState(before)
    before.a.clear()
    before.b = before.a
    after = Holder()
    after.a, after.b = [1], []
    KeptState(after).load(kept.save()[0])
    assert after.a is after.b


def test_two_objects_of_equal_content_stay_two():
    before = Holder()
    kept = KeptState(before)
    before.a, before.b = [np.ones(2)], [np.ones(2)]
    after = Holder()
    KeptState(after).load(kept.save()[0])
    after.a[0] += 1
    assert after.b[0].tolist() == [1, 1]


def test_an_attribute_that_is_the_config_of_messages_stays_it():
    def make():
        holder = Holder()
        holder.config = ConfigRecord({"lr": 1.0})
        return holder, KeptState(holder, also={"train_config": holder.config})

    before, kept = make()
    before.config["lr"] = 0.5
    after, again = make()
    sent = after.config
    again.load(kept.save()[0])
    assert after.config is sent
    assert sent["lr"] == 0.5


def test_what_cannot_be_set_is_named_and_the_rest_is_set():
    class Edited(FedAvg):
        @property
        def steps(self):
            raise RuntimeError("not ready")

        @property
        def best(self):
            return 3

    before = Holder()
    before.inner = Holder()
    kept = KeptState(before)
    before.best, before.count, before.steps, before.inner.lr = 1, 2, [3], 0.1
    after = Edited()
    refused = KeptState(after).load(kept.save()[0])
    assert refused.keys() == {"best", "steps", "inner.lr"}
    assert "no setter" in refused["best"]
    assert after.count == 2


def test_a_load_puts_back_what_the_checkpoint_does_not_hold():
    """A training that goes back in one process equals one that was killed and resumed there."""
    holder = Holder()
    holder.best, holder.count = 0, 0
    kept = KeptState(holder)
    holder.count = 1
    state, _ = kept.save()
    holder.best, holder.count, holder.late = 5, 2, {"w": 1}
    kept.load(state)
    assert (holder.best, holder.count, hasattr(holder, "late")) == (0, 1, False)
    kept.load({})
    assert holder.count == 0


def test_what_is_always_kept_is_kept_unchanged():
    key = ConfigRecord({"noise-key": "a"})
    state, _ = KeptState(Holder(), also={"private": key}, always=["private"]).save()
    other = ConfigRecord({"noise-key": "b"})
    KeptState(Holder(), also={"private": other}, always=["private"]).load(state)
    assert other["noise-key"] == "a"


def test_random_numbers_of_the_system_have_no_state():
    holder = Holder()
    kept = KeptState(holder)
    holder.secret = random.SystemRandom()
    assert list(kept.save()[1]) == ["secret"]
    kept.snapshot()()


def test_a_state_of_an_earlier_release_is_read():
    document = (
        b'{"h": {"sequence": "list", "items": [{"int": "1"}]}, "d": {"mapping": "defaultdict", "items": []}}'
    )
    holder = Holder()
    holder.d = defaultdict(list)
    KeptState(holder).load({DOCUMENT: np.frombuffer(document, np.uint8)})
    assert holder.h == [1]
    assert holder.d["x"] == []


def test_a_loop_of_containers_ends():
    holder = Holder()
    kept = KeptState(holder)
    holder.loop = []
    holder.loop.append(holder.loop)
    assert "loop" in kept.save()[1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"a": {"at": 0}}',
        b'{"a": {"array": {"at": 7}}}',
        b'{"a": {"int": "x"}}',
        b'{"a": {"same": 0}}',
    ],
)
def test_a_state_that_is_none_is_refused(content):
    with pytest.raises(CheckpointError, match="state of the app's strategy"):
        KeptState(Holder()).load({DOCUMENT: np.frombuffer(content, np.uint8)})


def test_the_state_is_a_copy():
    holder = Holder()
    kept = KeptState(holder)
    holder.value = np.zeros(2)
    state, _ = kept.save()
    holder.value += 1
    after = Holder()
    KeptState(after).load(state)
    assert after.value.tolist() == [0, 0]
