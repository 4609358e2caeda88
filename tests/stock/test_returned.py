"""What the methods of an app's strategy return, and how an app starts it: as in Flower, or named as wrong."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from oneflower.checkpoints import CheckpointReader
from oneflower.errors import AppError
from oneflower.journal import read_journal
from oneflower.journal.events import ClientQuarantined, TrainingFinished

TEXT = ArrayRecord({"w": Array(np.array(["a"]))})
ODD = {
    "configure_train": [None, 5, "text", {}, [None], ["a"], 1.5],
    "configure_evaluate": [None, 5, {"a": 1}, [RecordDict()]],
    "aggregate_train": [
        None,
        5,
        ArrayRecord(),
        (None,),
        (1, None),
        ({"w": np.zeros(4)}, None),
        (None, 5),
        (None, {"loss": "low"}),
        (TEXT, None),
        (None, None, None),
    ],
    "aggregate_evaluate": [5, "text", {"a": "b"}, (None, None)],
}
CASES = [(method, value) for method, values in ODD.items() for value in values]


def initial():
    return ArrayRecord({"w": Array(np.zeros(4, np.float32))})


def main_of(make, **options):
    def main(grid, context):
        make().start(grid=grid, **{"initial_arrays": initial(), "num_rounds": 2, **options})

    return main


def returning(method, value):
    return type("Mine", (FedAvg,), {method: lambda self, *_: value})


@pytest.mark.parametrize(("method", "value"), CASES, ids=[f"{m} {str(v)[:30]!r}" for m, v in CASES])
def test_an_odd_value_is_named_with_its_method(stock, method, value):
    with pytest.raises(AppError, match=rf"Mine\.{method} returned .*"):
        stock(main_of(returning(method, value))).run()


def test_a_generator_of_messages_and_a_plain_mapping_of_metrics_are_taken(stock):
    class Mine(FedAvg):
        def configure_train(self, *arguments):
            yield from super().configure_train(*arguments)

        def aggregate_train(self, *arguments):
            arrays, metrics = super().aggregate_train(*arguments)
            return [arrays, dict(metrics)]

        def aggregate_evaluate(self, *arguments):
            return {"eval_loss": 0.5}

    app = stock(main_of(Mine))
    app.run()
    assert CheckpointReader(app.path).rounds()[-1] == 2


def test_a_reply_on_which_the_apps_own_rule_fails_is_left_out(stock):
    """Of a rule of the app's own nothing is expected until it fails: then the odd replies go."""

    class Analytics(FedAvg):
        def aggregate_train(self, server_round, replies):
            losses = [float(reply.content["metrics"]["loss"]) for reply in replies]
            return None, MetricRecord({"sum": sum(losses)})

    def train(message, context, arrays):
        odd = context.node_config["partition-id"] == 0
        return {}, {"num-examples": 1, "other" if odd else "loss": 1.0}

    app = stock(main_of(Analytics, initial_arrays=ArrayRecord()), train=train)
    app.run(**{"round-retries": 1, "min-evaluate-clients": 0})
    events = [each.event for each in read_journal(app.path / "journal.jsonl")]
    assert sum(isinstance(event, ClientQuarantined) for event in events) == 2
    assert isinstance(events[-1], TrainingFinished)


@pytest.mark.parametrize("checkpoints", [True, False])
def test_no_rounds_evaluate_centrally_alone(stock, checkpoints):
    rounds, asked = [], []

    def evaluate(number, arrays):
        rounds.append(number)
        return MetricRecord({"m": 1.0})

    app = stock(main_of(FedAvg, num_rounds=0, evaluate_fn=evaluate), train=lambda *_: asked.append(1))
    app.run(**{"checkpoint-enabled": checkpoints})
    app.run(**{"checkpoint-enabled": checkpoints})
    assert (rounds, asked) == ([0, 0], [])


@pytest.mark.parametrize("arguments", [{"num_round": 1}, {"rounds": 1, "timeout": 1}])
def test_a_wrong_argument_is_refused_in_flowers_words(stock, arguments):
    words = r"Strategy\.start\(\) got an unexpected keyword argument"
    with pytest.raises(TypeError, match=words):
        stock(main_of(FedAvg, **arguments)).run()


def test_a_missing_argument_is_refused_in_flowers_words(stock):
    words = r"Strategy\.start\(\) missing 1 required positional argument: 'initial_arrays'"
    with pytest.raises(TypeError, match=words):
        stock(lambda grid, context: FedAvg().start(grid)).run()


def test_arguments_by_position_are_those_of_flower(stock):
    app = stock(lambda grid, context: FedAvg().start(grid, initial(), 1, 60))
    app.run()
    assert CheckpointReader(app.path).rounds() == (1,)


def test_messages_without_content_are_named(stock):
    class Mine(FedAvg):
        def configure_train(self, *arguments):
            (first, *_) = super().configure_train(*arguments)
            return [first, Message(RecordDict(), 1, "train"), "more"]

    with pytest.raises(AppError, match="among its messages str 'more'"):
        stock(main_of(Mine)).run()
