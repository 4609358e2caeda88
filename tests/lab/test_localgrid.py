"""A Grid whose clients run in this process behaves as Flower's towards the round loop."""

import random

import numpy as np
import pytest
from flwr.common import ConfigRecord, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode

from oneflower.flower.client_mark import take_mark
from oneflower.lab.localgrid import LocalGrid

from ..federation import initial_arrays, local_update, numpy_app


def message_to(node):
    content = RecordDict({"arrays": initial_arrays(), "config": ConfigRecord({"seed": 1, "server-round": 1})})
    return Message(content, node, MessageType.TRAIN)


def test_each_client_holds_its_own_partition():
    seen = []

    def update(message, context):
        seen.append((context.node_config["partition-id"], context.node_config["num-partitions"]))
        return local_update(message, context)

    grid = LocalGrid(numpy_app(update), clients=3, run_config={})
    replies = grid.send_and_receive([message_to(node) for node in grid.get_node_ids()])
    assert seen == [(0, 3), (1, 3), (2, 3)]
    assert [reply.metadata.src_node_id for reply in replies] == list(grid.get_node_ids())


def test_a_client_runs_when_its_reply_is_pulled():
    """So that its reply is checked before the next one starts, and one client's memory is held at a time."""
    ran = []

    def update(message, context):
        ran.append(context.node_config["partition-id"])
        return local_update(message, context)

    grid = LocalGrid(numpy_app(update), clients=2, run_config={})
    replies = grid.pull_messages(grid.push_messages([message_to(node) for node in grid.get_node_ids()]))
    assert ran == []
    next(replies)
    assert ran == [0]


def test_an_exception_becomes_the_error_reply_of_a_supernode():
    def update(message, context):
        raise ZeroDivisionError("by hand")

    grid = LocalGrid(numpy_app(update), clients=1, run_config={})
    (reply,) = grid.send_and_receive([message_to(node) for node in grid.get_node_ids()])
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    take_mark(reply)
    assert reply.error.reason == "<class 'ZeroDivisionError'>:<'by hand'>"


def test_a_clients_state_lives_from_message_to_message():
    """Flower keeps `context.state` between the messages of one run."""

    def update(message, context):
        record = context.state.config_records.setdefault("memory", ConfigRecord({"calls": 0}))
        record["calls"] += 1
        arrays, metrics = local_update(message, context)
        return arrays, {**metrics, "calls": record["calls"]}

    grid = LocalGrid(numpy_app(update), clients=1, run_config={})
    node = next(iter(grid.get_node_ids()))
    calls = [grid.send_and_receive([message_to(node)])[0].content["metrics"]["calls"] for _ in range(3)]
    assert calls == [1, 2, 3]


def counting(seen):
    def update(message, context):
        record = context.state.config_records.setdefault("memory", ConfigRecord({"calls": 0}))
        record["calls"] += 1
        seen.append((context.node_config["partition-id"], record["calls"]))
        arrays, metrics = local_update(message, context)
        return arrays, {**metrics, "calls": record["calls"]}

    return update


def test_what_is_pushed_runs_before_the_next_message_to_the_same_client():
    """A SuperNode works through its messages in their order, whoever pulls the replies."""
    seen = []
    grid = LocalGrid(numpy_app(counting(seen)), clients=2, run_config={})
    first, second = grid.get_node_ids()
    (pushed,) = grid.push_messages([message_to(first)])
    grid.send_and_receive([message_to(second)])
    assert seen == [(1, 1)]
    (reply,) = grid.send_and_receive([message_to(first)])
    assert seen == [(1, 1), (0, 1), (0, 2)]
    assert reply.content["metrics"]["calls"] == 2
    (late,) = grid.pull_messages([pushed])
    assert late.content["metrics"]["calls"] == 1
    assert list(grid.pull_messages([pushed])) == []


def test_what_nobody_pulls_runs_at_the_end():
    seen = []
    grid = LocalGrid(numpy_app(counting(seen)), clients=2, run_config={})
    for _ in range(2):
        grid.push_messages([message_to(node) for node in grid.get_node_ids()])
    assert seen == []
    grid.finish()
    assert seen == [(0, 1), (1, 1), (0, 2), (1, 2)]
    grid.finish()
    assert len(seen) == 4


def test_a_client_does_not_move_the_servers_generators():
    def update(message, context):
        random.random(), np.random.random()  # noqa: NPY002 - what apps draw from
        return local_update(message, context)

    def drawn(clients):
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        grid = LocalGrid(numpy_app(update), clients=clients, run_config={})
        grid.send_and_receive([message_to(node) for node in grid.get_node_ids()])
        return random.random(), np.random.random()  # noqa: NPY002

    assert drawn(0) == drawn(3)


def test_an_exit_of_a_client_is_an_error_reply():
    def update(message, context):
        raise SystemExit(3)

    grid = LocalGrid(numpy_app(update), clients=2, run_config={})
    replies = grid.send_and_receive([message_to(node) for node in grid.get_node_ids()])
    assert [reply.error.code for reply in replies] == [ErrorCode.CLIENT_APP_RAISED_EXCEPTION] * 2


@pytest.mark.parametrize("returned", [None, 5])
def test_an_app_that_returns_no_message_is_left_out_and_named(returned):
    grid = LocalGrid(lambda message, context: returned, clients=1, run_config={})
    (reply,) = grid.send_and_receive([message_to(node) for node in grid.get_node_ids()])
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert f"the ClientApp returned {type(returned).__name__}; expected a Message" in reply.error.reason
