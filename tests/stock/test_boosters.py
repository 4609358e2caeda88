"""One member of a training of boosted trees sends what it likes: nothing of it is kept."""

import json
from copy import deepcopy

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedXgbBagging, FedXgbCyclic

from oneflower.checkpoints import CheckpointReader
from oneflower.journal import read_journal
from oneflower.journal.events import ClientQuarantined
from oneflower.stock.boosters import read_booster
from oneflower.training.replies import ReplyError

ROUNDS = 2
WEIGHT = MetricRecord({"num-examples": 10})
TREE = {
    "id": 0,
    "left_children": [1, -1, -1],
    "right_children": [2, -1, -1],
    "parents": [2147483647, 0, 0],
    "split_indices": [3, 0, 0],
    "split_conditions": [0.5, -0.25, 0.25],
    "default_left": [1, 0, 0],
}


def booster(changes=None, **tree):
    """Return a booster of one tree, as XGBoost 3.2 writes it."""
    model = {
        "gbtree_model_param": {"num_trees": "1", "num_parallel_tree": "1"},
        "iteration_indptr": [0, 1],
        "tree_info": [0],
        "trees": [TREE | tree],
    }
    found = {
        "learner": {
            "attributes": {},
            "gradient_booster": {"model": model, "name": "gbtree"},
            "learner_model_param": {"base_score": "5E-1", "num_class": "0", "num_feature": "4"},
            "objective": {"name": "binary:logistic"},
        },
        "version": [3, 2, 0],
    }
    if changes is not None:
        changes(found["learner"])
    return json.dumps(found).encode()


def record(*datas):
    return ArrayRecord([np.frombuffer(data, np.uint8) for data in datas])


def named(name, data):
    return ArrayRecord({name: Array(np.frombuffer(data, np.uint8))})


def changed(path, value):
    def change(learner):
        *steps, last = path.split(".")
        for step in steps:
            learner = learner[step]
        learner[last] = value

    return change


MODEL = "gradient_booster.model"
GOOD = booster()
BAD = {
    "no JSON": record(b"garbage"),
    "a number": record(b"5"),
    "a list": record(b"[]"),
    "nothing": record(b""),
    "another encoding": record(GOOD.decode().encode("utf-16")),
    "cut": record(GOOD[:-40]),
    "nested": record(b'{"learner":' * 50_000 + b"1" + b"}" * 50_000),
    "many values": record(b'{"learner":[' + b"0," * 5_000_000 + b"0]}"),
    "a large number": record(b'{"learner":' + b"9" * 100_000 + b"}"),
    "floats": ArrayRecord([np.ones(3)]),
    "wide": ArrayRecord([np.frombuffer(GOOD + b" " * (-len(GOOD) % 8), np.int64)]),
    "two dimensions": ArrayRecord([np.frombuffer(GOOD, np.uint8)[None]]),
    "no dimension": ArrayRecord([np.zeros((), np.uint8)]),
    "two arrays": record(GOOD, GOOD),
    "no array": ArrayRecord(),
    "another name": named("1", GOOD),
    "text": ArrayRecord([np.array(["a"])]),
    "other keys": record(b'{"model": {}}'),
    "a tree that is text": record(booster(changed(f"{MODEL}.trees", ["a"]))),
    "no trees": record(booster(changed(f"{MODEL}.trees", []))),
    "a tree more than it says": record(booster(changed(f"{MODEL}.trees", [TREE, TREE]))),
    "many parallel": record(booster(changed(f"{MODEL}.gbtree_model_param.num_parallel_tree", "9" * 4000))),
    "negative trees": record(booster(changed(f"{MODEL}.gbtree_model_param.num_trees", "-1"))),
    "starts that do not fit": record(booster(changed(f"{MODEL}.iteration_indptr", [0, 7]))),
    "a leaf that is NaN": record(booster(split_conditions=[0.5, float("nan"), 0.25])),
    "a leaf that is too large": record(GOOD.replace(b"-0.25", b"1e999")),
    "a cycle": record(booster(left_children=[1, 0, -1], right_children=[2, 2, -1])),
    "a node that is not there": record(booster(left_children=[9, -1, -1])),
    "no other child": record(booster(right_children=[-1, -1, -1])),
    "lists of other lengths": record(booster(parents=[0])),
    "a feature that is not there": record(booster(split_indices=[4, 0, 0])),
    "another number of features": record(booster(changed("learner_model_param.num_feature", "9"))),
    "other classes": record(booster(changed("learner_model_param.num_class", "3"))),
    "another loss": record(booster(changed("objective.name", "reg:squarederror"))),
    "a score of infinity": record(booster(changed("learner_model_param.base_score", "inf"))),
}
REPLIES = {name: {"arrays": array, "metrics": WEIGHT} for name, array in BAD.items()} | {
    "an empty reply": {},
    "no metrics": {"arrays": record(GOOD)},
    "two records": {"arrays": record(GOOD), "more": record(GOOD), "metrics": WEIGHT},
    "no weight": {"arrays": record(GOOD), "metrics": MetricRecord({"a": 1})},
    "a negative weight": {"arrays": record(GOOD), "metrics": MetricRecord({"num-examples": -1})},
    "another record": {"foo": record(GOOD), "metrics": WEIGHT},
    "metrics of another name": {"arrays": record(GOOD), "foo": WEIGHT},
    "a metric more": {"arrays": record(GOOD), "metrics": MetricRecord({"num-examples": 10, "a": 1})},
}
ONLY_TOGETHER = {
    "another record",
    "metrics of another name",
    "a metric more",
    "another number of features",
    "other classes",
    "another loss",
}
"""What can be told from a comparison with others, or with a model."""


def client(bad, bad_partition):
    app = ClientApp()

    @app.train()
    def _train(message, context):
        content = {"arrays": record(GOOD), "metrics": WEIGHT}
        if context.node_config["partition-id"] == bad_partition:
            content = deepcopy(bad)
        return Message(RecordDict(content), reply_to=message)

    @app.evaluate()
    def _evaluate(message, context):
        return Message(RecordDict({"metrics": WEIGHT}), reply_to=message)

    return app


def main_of(make, initial):
    def main(grid, context):
        make().start(grid=grid, initial_arrays=record(initial), num_rounds=ROUNDS)

    return main


def trees(path):
    data = CheckpointReader(path).load(ROUNDS).arrays["0"].tobytes()
    return json.loads(data)["learner"]["gradient_booster"]["model"]["trees"]


def quarantined(path):
    found = (each.event for each in read_journal(path / "journal.jsonl"))
    return sum(isinstance(each, ClientQuarantined) for each in found)


@pytest.mark.parametrize("initial", [b"", GOOD], ids=["nothing", "a booster"])
@pytest.mark.parametrize("name", REPLIES)
def test_bagging_leaves_out_what_is_no_booster(stock, name, initial):
    app = stock(main_of(FedXgbBagging, initial), client_app=client(REPLIES[name], 0))
    app.run()
    assert quarantined(app.path) == ROUNDS
    found = trees(app.path)
    assert len(found) == 2 * ROUNDS + bool(initial)
    assert all({**tree, "id": 0} == TREE for tree in found)


@pytest.mark.parametrize("name", sorted(REPLIES.keys() - ONLY_TOGETHER))
def test_cyclic_takes_another_client(stock, monkeypatch, name):
    """Its one client of round 1 sends no booster: after three tries the next one is asked."""
    monkeypatch.setattr("oneflower.training.phases.FIRST_PAUSE_S", 0)
    app = stock(main_of(FedXgbCyclic, b""), client_app=client(REPLIES[name], 0), clients=4)
    app.run(**{"round-retries": 10})
    assert quarantined(app.path) == 3
    assert trees(app.path) == [TREE]


def test_cyclic_hands_on_a_model_of_another_kind(stock):
    """A network in place of trees: its form is all that is compared."""
    app = ClientApp()

    @app.train()
    def _train(message, context):
        arrays = ArrayRecord({"w": Array(np.ones(3, np.float32))})
        return Message(RecordDict({"arrays": arrays, "metrics": WEIGHT}), reply_to=message)

    def main(grid, context):
        initial = ArrayRecord({"w": Array(np.zeros(3, np.float32))})
        FedXgbCyclic().start(grid=grid, initial_arrays=initial, num_rounds=ROUNDS)

    running = stock(main, client_app=app)
    running.run(**{"min-evaluate-clients": 0})
    assert CheckpointReader(running.path).load(ROUNDS).arrays["w"].tolist() == [1, 1, 1]


def test_trees_that_were_pruned_are_whole():
    """XGBoost leaves the nodes that it prunes in the lists, and uses their numbers again."""
    pruned = booster(
        left_children=[3, -1, -1, 2, -1],
        right_children=[4, -1, -1, 1, -1],
        parents=[2147483647, 3, 3, 0, 0],
        split_indices=[1, 0, 0, 2, 2147483647],
        split_conditions=[float("nan"), 0.1, 0.2, 0.5, 0.3],
        default_left=[0, 0, 0, 0, 0],
    )
    assert read_booster(np.frombuffer(pruned, np.uint8), b"", merged=True).features == "4"


@pytest.mark.parametrize("size", [1_000, 1_000_000])
def test_hostile_text_is_refused_before_it_is_parsed(size, monkeypatch):
    def loads(*_, **__):
        raise AssertionError("it was parsed")

    monkeypatch.setattr(json, "loads", loads)
    data = b'{"learner":' + b"[" * size + b"]" * size + b"}"
    with pytest.raises(ReplyError, match="nested"):
        read_booster(np.frombuffer(data, np.uint8), b"", merged=False)
