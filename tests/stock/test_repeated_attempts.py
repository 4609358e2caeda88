"""A round attempted twice, a training killed, and one that goes on after its end end with equal bytes."""

import logging

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg

from oneflower.checkpoints import CheckpointReader

ROUNDS = 5


class Decay(FedAvg):
    """A learning rate that falls in the config of the messages, and state that each hook changes."""

    def __init__(self):
        super().__init__()
        self.asked, self.momentum, self.factor = [], np.zeros(4, np.float32), 1.0

    def configure_train(self, server_round, arrays, config, grid):
        config["lr"] = config["lr"] * 0.5
        self.asked.append(server_round)
        self.momentum += 1
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        scale = np.float32(self.factor + 0.01 * len(self.asked))
        return ArrayRecord({n: Array(a.numpy() * scale + self.momentum) for n, a in arrays.items()}), metrics

    def aggregate_evaluate(self, server_round, replies):
        self.factor *= 1.1
        return super().aggregate_evaluate(server_round, replies)


def main_of(make=Decay, rounds=ROUNDS, at=lambda number: None):
    def main(grid, context):
        make().start(
            grid=grid,
            initial_arrays=ArrayRecord({"w": Array(np.zeros(4, np.float32))}),
            num_rounds=rounds,
            train_config=ConfigRecord({"lr": 1.0}),
            evaluate_fn=lambda number, arrays: at(number),
        )

    return main


class Killed(BaseException):
    pass


def kill(number):
    if number == 3:
        raise Killed


def learn(message, context, arrays):
    target = np.float32(context.node_config["partition-id"])
    lr = np.float32(message.content["config"]["lr"])
    return {"w": arrays["w"] + lr * (target - arrays["w"])}, {"num-examples": 3}


def failing(when):
    """Clients that fail at some calls of the round 3."""
    calls = []

    def train(message, context, arrays):
        if message.content["config"]["server-round"] == 3:
            calls.append(1)
            if len(calls) in when:
                raise RuntimeError(f"passing {len(calls)}")
        return learn(message, context, arrays)

    return train


def digest(path):
    reader = CheckpointReader(path)
    assert max(reader.rounds()) == ROUNDS
    return reader.verify(ROUNDS).model.sha256


@pytest.fixture
def whole(stock):
    """The digest of a training without a fault."""

    def run(**settings):
        app = stock(main_of(), train=learn)
        app.path = app.path.with_name("whole")
        app.run(**settings)
        return digest(app.path)

    return run


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("oneflower.training.phases.FIRST_PAUSE_S", 0.0)


@pytest.mark.parametrize("strategy", ["app", "FedAvg"])
def test_a_round_that_is_attempted_again_starts_as_the_first_time(stock, whole, strategy):
    app = stock(main_of(), train=failing(range(1, 7)))
    app.run(**{"round-retries": 3, "strategy": strategy})
    assert digest(app.path) == whole(strategy=strategy)


def test_a_rule_that_fails_once_has_changed_nothing(stock, whole):
    class Fails(Decay):
        failed = False

        def aggregate_train(self, server_round, replies):
            if server_round == 3 and not Fails.failed:
                Fails.failed = True
                self.momentum[:], self.late = 9, [1]
                raise ValueError("once")
            return super().aggregate_train(server_round, replies)

    app = stock(main_of(Fails), train=learn)
    app.run(**{"round-retries": 1})
    assert Fails.failed
    assert digest(app.path) == whole()


def test_a_training_that_was_killed_between_two_attempts_ends_with_the_same_bytes(stock, whole):
    app = stock(main_of(), train=learn)

    def train(message, context, arrays, calls=[]):  # noqa: B006
        if message.content["config"]["server-round"] == 3:
            calls.append(1)
            raise RuntimeError(f"passing {len(calls)}") if len(calls) < 4 else Killed
        return learn(message, context, arrays)

    app.train = train
    with pytest.raises(Killed):
        app.run(**{"round-retries": 3})
    app.train = failing(range(1, 4))
    app.run(**{"round-retries": 3})
    assert digest(app.path) == whole()


@pytest.mark.parametrize("strategy", ["FedAvg", "FedAdam", "FedMedian"])
def test_the_state_of_a_strategy_that_only_chooses_clients_comes_back(stock, whole, strategy):
    app = stock(main_of(at=kill), train=learn)
    with pytest.raises(Killed):
        app.run(strategy=strategy)
    app.main = main_of()
    app.run(strategy=strategy)
    assert digest(app.path) == whole(strategy=strategy)


@pytest.mark.parametrize("interval", [1, 2])
def test_more_rounds_after_the_end_are_as_if_there_had_been_none(stock, whole, interval):
    app = stock(main_of(rounds=3), train=learn)
    app.run(**{"checkpoint-interval": interval})
    app.main = main_of()
    app.run(**{"checkpoint-interval": interval})
    assert digest(app.path) == whole()


def test_a_checkpoint_made_after_its_evaluation_is_not_evaluated_again(stock, whole, monkeypatch):
    """The checkpoint of the last round that could not be written is made at the end."""
    from oneflower.checkpoints import BackgroundWriter

    app = stock(main_of(rounds=3), train=learn)
    with monkeypatch.context() as patched:
        usual = BackgroundWriter.submit

        def submit(self, checkpoint):
            if checkpoint.round == 3:
                raise OSError("no thread")
            usual(self, checkpoint)

        patched.setattr(BackgroundWriter, "submit", submit)
        app.run(**{"round-retries": 1})
    app.main = main_of()
    app.run()
    assert digest(app.path) == whole()


def test_an_attribute_that_cannot_be_set_is_named_once(stock, caplog):
    class Edited(Decay):
        asked = property(lambda self: [], lambda self, value: None)
        factor = property(lambda self: 1.0)

        def __init__(self):
            FedAvg.__init__(self)
            self.momentum = np.zeros(4, np.float32)

    Edited.__name__ = "Decay"
    app = stock(main_of(rounds=3), train=learn)
    app.run()
    app.main = main_of(Edited)
    with caplog.at_level(logging.WARNING, logger="flwr"):
        app.run(**{"min-evaluate-clients": 0})
    named = [each.getMessage() for each in caplog.records if "cannot be set" in each.getMessage()]
    assert len(named) == 1
    assert "factor (AttributeError" in named[0]
