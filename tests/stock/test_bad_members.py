"""One member of a stock app's training sends what it likes: it is left out, and no round fails for it."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from oneflower.checkpoints import CheckpointReader
from oneflower.journal import read_journal
from oneflower.journal.events import ClientBounded, ClientQuarantined

ROUNDS = 2
GOOD = {"loss": 1.0, "num-examples": 10}


def model():
    return ArrayRecord({"w": Array(np.zeros(4, np.float32)), "n": Array(np.zeros((), np.int64))})


def main(grid, context):
    FedAvg().start(grid=grid, initial_arrays=model(), num_rounds=ROUNDS)


def record(**changes):
    arrays = {"w": np.ones(4, np.float32), "n": np.ones((), np.int64)} | changes
    return ArrayRecord({name: Array(value) for name, value in arrays.items()})


TRAIN = {
    "another name of the record": {"foo": record(), "metrics": MetricRecord(GOOD)},
    "another name of the metrics": {"arrays": record(), "figures": MetricRecord(GOOD)},
    "a list as metric": {"arrays": record(), "metrics": MetricRecord({**GOOD, "loss": [1.0, 2.0]})},
    "an empty list": {"arrays": record(), "metrics": MetricRecord({**GOOD, "loss": []})},
    "a metric more": {"arrays": record(), "metrics": MetricRecord({**GOOD, "more": 1.0})},
    "a shape": {"arrays": record(w=np.ones(7, np.float32)), "metrics": MetricRecord(GOOD)},
    "a shape that broadcasts": {"arrays": record(w=np.ones(1, np.float32)), "metrics": MetricRecord(GOOD)},
    "another dtype": {"arrays": record(w=np.ones(4)), "metrics": MetricRecord(GOOD)},
    "bools": {"arrays": record(w=np.ones(4, bool)), "metrics": MetricRecord(GOOD)},
    "two records": {"arrays": record(), "again": record(), "metrics": MetricRecord(GOOD)},
    "nothing": {},
}
EVALUATE = {
    "other names": {"metrics": MetricRecord({"foo": 1.0, "num-examples": 1})},
    "another record": {"figures": MetricRecord({"eval_loss": 1.0, "num-examples": 1})},
    "two records": {
        "metrics": MetricRecord({"eval_loss": 1.0, "num-examples": 1}),
        "more": MetricRecord({"eval_loss": 1.0, "num-examples": 1}),
    },
    "no weight": {"metrics": MetricRecord({"eval_loss": 1.0})},
    "a list": {"metrics": MetricRecord({"eval_loss": [1.0, 2.0], "num-examples": 1})},
    "nothing": {},
}


def client(train=None, evaluate=None):
    app = ClientApp()

    @app.train()
    def _train(message, context):
        bad = train is not None and context.node_config["partition-id"] == 0
        content = train if bad else {"arrays": record(), "metrics": MetricRecord(GOOD)}
        return Message(RecordDict(content), reply_to=message)

    @app.evaluate()
    def _evaluate(message, context):
        bad = evaluate is not None and context.node_config["partition-id"] == 0
        good = {"metrics": MetricRecord({"eval_loss": 0.5, "num-examples": 1})}
        return Message(RecordDict(evaluate if bad else good), reply_to=message)

    return app


def events(app, kind):
    return [each.event for each in read_journal(app.path / "journal.jsonl") if isinstance(each.event, kind)]


@pytest.mark.parametrize("name", TRAIN)
def test_a_reply_to_training_is_left_out(stock, name):
    app = stock(main, client_app=client(train=TRAIN[name]))
    app.run()
    assert len(events(app, ClientQuarantined)) == ROUNDS
    arrays = CheckpointReader(app.path).load(ROUNDS).arrays
    assert arrays["w"].tolist() == [1, 1, 1, 1]
    assert (arrays["w"].dtype, arrays["n"].dtype, arrays["n"].shape) == (np.float32, np.int64, ())


@pytest.mark.parametrize("name", ["a shape", "a shape that broadcasts"])
def test_of_two_the_one_with_the_models_form_is_right(stock, name):
    app = stock(main, client_app=client(train=TRAIN[name]), clients=2)
    app.run(**{"min-fit-clients": 1, "operator-set": "FL_MIN_FIT_CLIENTS"})
    assert CheckpointReader(app.path).load(ROUNDS).arrays["w"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("name", EVALUATE)
def test_a_reply_to_evaluation_ends_nothing(stock, name):
    app = stock(main, client_app=client(evaluate=EVALUATE[name]))
    app.run()
    assert CheckpointReader(app.path).rounds()[-1] == ROUNDS


def test_the_bounds_hold_from_round_1(stock):
    large = {"arrays": record(w=np.full(4, 1e30, np.float32)), "metrics": MetricRecord(GOOD)}
    app = stock(main, client_app=client(train=large), clients=5)
    app.run()
    assert events(app, ClientBounded)[0].round == 1
    assert abs(CheckpointReader(app.path).load(1).arrays["w"]).max() < 2
