"""An app's own strategy runs in our rounds, unchanged: checks, checkpoints, resume with equal bytes."""

import random

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyServerSideFixedClipping,
    FedAdam,
    FedAvg,
    FedMedian,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    Krum,
)

from oneflower.checkpoints import CheckpointReader
from oneflower.journal import read_journal
from oneflower.journal.events import ClientBounded, ClientQuarantined, TrainingFinished, TrainingStarted
from oneflower.stock.nodes import StableNodes

ROUNDS = 4


def model():
    return ArrayRecord(
        {
            "w": Array(np.random.normal(size=4).astype(np.float32)),  # noqa: NPY002 - as apps do
            "count": Array(np.zeros((), np.int64)),
        }
    )


class Momentum(FedAvg):
    """As in Flower's guide to custom strategies: state of its own, and a learning rate that falls."""

    def __init__(self, **options):
        super().__init__(**options)
        self.velocity, self.rounds, self.best = {}, 0, float("inf")

    def configure_train(self, server_round, arrays, config, grid):
        if server_round % 2 == 0:
            config.update({"lr": config["lr"] * 0.5})
        self.current = arrays
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        self.rounds += 1
        new = {}
        for name, array in arrays.items():
            change = array.numpy() - self.current[name].numpy()
            self.velocity[name] = 0.9 * self.velocity.get(name, 0) + change
            new[name] = Array(self.current[name].numpy() + self.velocity[name])
        return ArrayRecord(new), metrics


STRATEGIES = {
    "FedAvg": FedAvg,
    "half of the clients": lambda: FedAvg(fraction_train=0.5, fraction_evaluate=0.5, min_train_nodes=1),
    "FedAdam": lambda: FedAdam(eta=0.1),
    "FedTrimmedAvg": lambda: FedTrimmedAvg(beta=0.4),
    "FedMedian": FedMedian,
    "Bulyan": lambda: Bulyan(num_malicious_nodes=0),
    "Krum": lambda: Krum(num_malicious_nodes=0),
    "custom": Momentum,
    "noise": lambda: DifferentialPrivacyServerSideFixedClipping(
        FedAvg(), noise_multiplier=0.1, clipping_norm=1.0, num_sampled_clients=3
    ),
}


def main_of(make, rounds=ROUNDS, seen=None, initial=model, **options):
    def main(grid, context):
        result = make().start(
            grid=grid,
            initial_arrays=initial(),
            num_rounds=rounds,
            train_config=ConfigRecord({"lr": 1.0}),
            **options,
        )
        if seen is not None:
            seen.append(result)

    return main


def digest(path):
    reader = CheckpointReader(path)
    return reader.verify(max(reader.rounds())).model.sha256


def events(path):
    return [entry.event for entry in read_journal(path / "journal.jsonl")]


@pytest.fixture(autouse=True)
def _one_noise(monkeypatch):
    """Two trainings draw other noise, unless they are given the same key."""
    monkeypatch.setenv("ONEFLOWER_NOISE_KEY", "of these tests")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_training_that_was_killed_ends_with_the_same_bytes(stock, tmp_path, name):
    """The nodes have other ids after the restart, and the process's generators another state."""
    app = stock(main_of(STRATEGIES[name]))
    app.run(node_ids=[7, 5, 6])
    whole = digest(app.path)

    def train(message, context, arrays):
        if message.content["config"]["server-round"] == 3:
            raise Killed
        return type(app).train(message, context, arrays)

    app.path = tmp_path / "killed"
    app.train, usual = train, app.train
    type(app).train = staticmethod(usual)
    random.seed(1), np.random.seed(1)  # noqa: NPY002
    with pytest.raises(Killed):
        app.run(node_ids=[1, 2, 3])
    app.train = usual
    random.seed(2), np.random.seed(2)  # noqa: NPY002
    app.run(node_ids=[33, 11, 22])
    assert digest(app.path) == whole
    assert CheckpointReader(app.path).rounds()[-1] == ROUNDS


def test_the_journal_names_the_strategy_that_ran(stock):
    app = stock(main_of(lambda: FedAdam(eta=0.1)))
    app.run()
    started = [event for event in events(app.path) if isinstance(event, TrainingStarted)]
    assert [event.strategy for event in started] == ["FedAdam (app)"]
    assert [event.rounds for event in started] == [ROUNDS]


def test_the_app_gets_its_result(stock):
    seen = []
    app = stock(main_of(FedAvg, seen=seen, evaluate_fn=lambda number, arrays: MetricRecord({"m": number})))
    app.run()
    (result,) = seen
    assert set(result.arrays) == {"w", "count"}
    assert result.arrays["count"].numpy().dtype == np.int64
    assert list(result.evaluate_metrics_serverapp) == list(range(ROUNDS + 1))
    assert set(result.train_metrics_clientapp[1]) == {"loss"}
    assert set(result.evaluate_metrics_clientapp[1]) == {"eval_loss"}
    str(result)


def test_a_client_that_sends_nan_is_left_out(stock):
    def train(message, context, arrays):
        new, metrics = type(app).train(message, context, arrays)
        if context.node_config["partition-id"] == 2:
            new["w"][0] = np.nan
        return new, metrics

    app = stock(main_of(FedAvg))
    usual = app.train
    type(app).train = staticmethod(usual)
    app.train = train
    app.run()
    quarantined = [event for event in events(app.path) if isinstance(event, ClientQuarantined)]
    assert len(quarantined) == ROUNDS
    arrays = CheckpointReader(app.path).load(ROUNDS).arrays
    assert np.isfinite(arrays["w"]).all()


def test_a_weight_of_one_client_is_bounded(stock):
    def train(message, context, arrays):
        new, metrics = type(app).train(message, context, arrays)
        if context.node_config["partition-id"] == 2:
            metrics["num-examples"] = 10**12
        return new, metrics

    app = stock(main_of(FedAvg), clients=5)
    usual = app.train
    type(app).train = staticmethod(usual)
    app.train = train
    app.run()
    bounded = [event for event in events(app.path) if isinstance(event, ClientBounded)]
    assert len(bounded) == ROUNDS
    assert "num-examples is 1e+12" in bounded[0].reason


@pytest.mark.parametrize("make", [FedXgbBagging, FedXgbCyclic])
def test_a_model_that_grows_is_kept_and_resumed(stock, tmp_path, make):
    def initial():
        return ArrayRecord({"0": Array(np.frombuffer(b"", np.uint8))})

    def train(message, context, arrays):
        tree = json_trees(message, context)
        return {"0": np.frombuffer(tree, np.uint8)}, {"num-examples": 3}

    def evaluate(message, context):
        raise NotImplementedError

    app = stock(main_of(make, initial=initial), train=train)
    app.run(node_ids=[7, 5, 6], **{"min-evaluate-clients": 0})
    whole = digest(app.path)
    first = tmp_path / "first"
    app.path = first

    def dies(message, context, arrays, calls=[]):  # noqa: B006
        calls.append(1)
        if len(calls) == (3 if make is FedXgbCyclic else 8):
            raise Killed
        return train(message, context, arrays)

    app.train = dies
    with pytest.raises(Killed):
        app.run(node_ids=[1, 2, 3], **{"min-evaluate-clients": 0})
    app.train = train
    app.run(node_ids=[33, 11, 22], **{"min-evaluate-clients": 0})
    assert digest(app.path) == whole


def json_trees(message, context):
    """Return a booster as JSON with one tree a call, in the form that FedXgbBagging merges."""
    import json

    number = message.content["config"]["server-round"]
    part = context.node_config["partition-id"]
    tree = {"id": 0, "value": number * 10 + part}
    content = {
        "learner": {
            "gradient_booster": {
                "model": {
                    "gbtree_model_param": {"num_trees": "1", "num_parallel_tree": "1"},
                    "iteration_indptr": [0, 1],
                    "trees": [tree],
                    "tree_info": [0],
                }
            }
        }
    }
    return json.dumps(content).encode()


def test_an_app_without_a_model_is_kept(stock):
    """Analytics: the strategy's aggregate is metrics alone."""

    class Mean(FedAvg):
        def aggregate_train(self, server_round, replies):
            sizes = [float(reply.content["metrics"]["num-examples"]) for reply in replies]
            return None, MetricRecord({"size": sum(sizes)})

    seen = []
    app = stock(main_of(Mean, initial=ArrayRecord, seen=seen), train=lambda *_: ({}, {"num-examples": 2}))
    app.run(**{"min-evaluate-clients": 0})
    assert dict(seen[0].train_metrics_clientapp[ROUNDS]) == {"size": 6.0}
    assert isinstance(events(app.path)[-1], TrainingFinished)


def test_who_had_which_id_is_kept_with_the_checkpoints(stock, monkeypatch):
    """At a restart all nodes may be new: the pins of the run before are read before the first choice."""
    seen = []
    plain = StableNodes.update

    def update(self, online, identities):
        found = plain(self, online, identities)
        seen.append(({**self._pins}, {each: self.real(each) for each in found}))
        return found

    monkeypatch.setattr(StableNodes, "update", update)

    def main(grid, context):
        rounds = context.run_config["rounds"]
        FedAvg().start(
            grid=grid, initial_arrays=ArrayRecord({"w": Array(np.zeros(2, np.float32))}), num_rounds=rounds
        )

    app = stock(main)
    app.run(rounds=1, node_ids=[70, 80, 90])
    seen.clear()
    app.run(rounds=2, node_ids=[90, 70, 80])
    pins, real = seen[0]
    assert {stable: pin.node for stable, pin in pins.items()} == real
    assert real == {1000: 70, 1001: 80, 1002: 90}, "Flower's own id, which a node cannot choose, decides"
