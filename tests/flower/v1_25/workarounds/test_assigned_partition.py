"""A stock app in a process of Flower's own, which calls it with the node config of the SuperNode's start."""

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from oneflower.flower.client_mark import take_mark
from oneflower.flower.parts import MEMBER, MEMBERS
from oneflower.flower.v1_25.workarounds.assigned_partition import WORKAROUND


@pytest.fixture
def seen():
    return []


@pytest.fixture
def call(seen):
    """Call a stock app as run_clientapp.py does; give the context that is kept for the next message."""
    app = ClientApp()

    @app.train()
    def _(message, context):
        seen.append((context.node_config["partition-id"], context.node_config["num-partitions"]))
        return Message(RecordDict(), reply_to=message)

    def run(table):
        message = Message(RecordDict({"config": ConfigRecord({MEMBERS: table})}), 1, "train")
        node = {"partition-id": 0, "num-partitions": 2, MEMBER: 12}
        context = Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config={})
        app(message=message, context=context)
        return context

    return run


def test_without_it_the_app_trains_on_the_part_of_the_start(call, seen):
    call([11, 13, 12])
    assert seen == [(0, 2)]


def test_the_app_trains_on_the_part_that_its_message_hands_out(call, seen, apply):
    apply(WORKAROUND)
    context = call([11, 13, 12])
    assert seen == [(2, 3)]
    assert context.node_config == {"partition-id": 0, "num-partitions": 2, MEMBER: 12}


def test_state_that_the_app_keeps_is_marked_as_by_the_warm_executor(apply):
    apply(WORKAROUND)
    app = ClientApp()

    @app.train()
    def _(message, context):
        context.state["counter"] = ConfigRecord({"calls": 1})
        return Message(RecordDict(), reply_to=message)

    asked = RecordDict({"config": ConfigRecord({"server-round": 1, "seed": 1})})
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    assert take_mark(app(message=Message(asked, 1, "train"), context=context)).state == ("counter",)


def test_a_malformed_table_ends_the_message(call, seen, apply):
    apply(WORKAROUND)
    call("12")
    assert seen == []
