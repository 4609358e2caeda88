"""The control record reaches the client's process and never the app, and replies never carry it."""

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from oneflower.errors import AppError
from oneflower.flower.calls.call import call_client
from oneflower.flower.calls.control import MOST_KEPT, RECORD, Control, step_of, take_control, with_control
from oneflower.flower.client_mark import take_mark
from oneflower.lab.localgrid import LocalGrid

from ...federation import Federation, initial_arrays, local_update, numpy_app

CONTROL = Control(training="ab" * 16, session="cd" * 8, round=3, seed=7, kept=(1, 2), resumed_from=1)


def message_with(control=CONTROL, **records):
    content = RecordDict({"arrays": initial_arrays(), "config": ConfigRecord({"lr": 0.1}), **records})
    message = Message(with_control(content, control), 1, "train")
    message.metadata.__dict__["_src_node_id"] = 2
    return message


def context_of():
    return Context(run_id=1, node_id=1, node_config={"partition-id": 0}, state=RecordDict(), run_config={})


def test_it_is_last_in_the_content_and_comes_out_as_it_went_in():
    message = message_with()
    assert list(message.content) == ["arrays", "config", RECORD]
    assert take_control(message) == CONTROL
    assert list(message.content) == ["arrays", "config"]
    assert take_control(message) is None


def test_a_record_of_the_same_name_that_is_the_apps_own_stays():
    message = Message(RecordDict({RECORD: ConfigRecord({"mine": 1})}), 1, "train")
    assert take_control(message) is None
    assert list(message.content) == [RECORD]


def test_only_the_newest_checkpoints_are_told():
    message = message_with(Control(training="ab" * 16, session="cd" * 8, round=30, seed=7, kept=range(30)))
    assert take_control(message).kept == tuple(range(30 - MOST_KEPT, 30))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training", "../../etc"),
        ("training", 5),
        ("session", ""),
        ("round", -1),
        ("round", "1"),
        ("seed", 2**63 - 1 + 0.5),
        ("step", 2**40),
        ("kept", list(range(100))),
        ("kept", [-1]),
        ("kept", "all"),
        ("resumed-from", 1.5),
        ("proximal-term", "both"),
    ],
)
def test_a_malformed_record_is_an_error_that_names_the_key(key, value):
    message = message_with()
    message.content[RECORD][key] = value
    with pytest.raises(AppError, match=key):
        take_control(message)


def test_the_app_does_not_see_it_and_the_reply_is_marked_without_a_config_of_ours():
    seen = []

    def app(message, context):
        seen.append(list(message.content))
        return Message(message.content, reply_to=message)

    reply = call_client(app, message_with(), context_of())
    assert seen == [["arrays", "config"]]
    assert take_mark(reply).partition == 0
    assert list(reply.content) == ["arrays", "config"]


def test_an_exception_after_it_was_taken_is_marked_too():
    def app(message, context):
        raise SystemExit(3)

    reply = call_client(app, message_with(), context_of())
    assert take_mark(reply).partition == 0
    assert reply.error.reason == "<class 'SystemExit'>:<'3'>"


def test_messages_have_their_place_in_the_round():
    steps = [step_of(kind) for kind in ("query", "train", "train.head", "evaluate", "other")]
    assert steps == [0, 1, 1, 2, 3]


# --- the messages of a training ---------------------------------------------------------------------------


@pytest.fixture
def controls(monkeypatch):
    """Keep the control record of every message that a training sends."""
    kept, push = [], LocalGrid.push_messages

    def kept_push(self, messages):
        listed = list(messages)
        for message in listed:
            copy = Message(RecordDict(dict(message.content)), 1, message.metadata.message_type)
            kept.append((message.metadata.message_type, take_control(copy)))
        return push(self, listed)

    monkeypatch.setattr(LocalGrid, "push_messages", kept_push)
    return kept


def test_every_message_of_a_training_has_it_and_a_resume_has_the_same_training(tmp_path, controls):
    federation = Federation(tmp_path, clients=2)
    federation.train(num_server_rounds=2)
    first = [control for _, control in controls]
    assert [(c.round, c.step) for c in first[::2]] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert {c.seed for c in first} == {3}
    assert [c.kept for c in first[::2]] == [(0,), (0, 1), (0, 1), (0, 1, 2)]
    controls.clear()
    federation.train(num_server_rounds=3)
    then = [control for _, control in controls]
    assert {c.training for c in first + then} == {first[0].training}
    assert then[0].session != first[0].session
    assert {c.resumed_from for c in then} == {2}


def test_a_training_that_starts_from_the_beginning_is_another_one(tmp_path, controls):
    federation = Federation(tmp_path, clients=2)
    federation.train(num_server_rounds=1)
    before = controls[0][1].training
    controls.clear()
    federation.train(num_server_rounds=1, resume="never")
    assert controls[0][1].training != before


def test_the_clients_of_a_simulation_do_not_see_what_another_ones_app_does_to_a_message(tmp_path):
    seen = []

    def update(message, context):
        config = message.content["config"]
        seen.append(config.get("mine"))
        config["mine"] = context.node_config["partition-id"]
        return local_update(message, context)

    Federation(tmp_path, clients=2, app=numpy_app(update)).train(num_server_rounds=1)
    assert seen == [None, None]


def test_the_table_of_partitions_travels_in_it_and_the_app_sees_its_own_alone():
    content = RecordDict({"cfg": ConfigRecord({"lr": 1.0})})
    control = Control(training="ab" * 8, session="cd" * 8, round=1, seed=1, members=(11, 13, 12))
    message = Message(with_control(content, control), 5, "train")
    node = {"member-id": 12, "partition-id": 7, "num-partitions": 9}
    context = Context(run_id=1, node_id=5, node_config=dict(node), state=RecordDict(), run_config={})
    seen = []

    def app(message, context):
        seen.append((dict(context.node_config), list(message.content)))
        return Message(RecordDict(), reply_to=message)

    call_client(app, message, context)
    assert seen == [({"member-id": 12, "partition-id": 2, "num-partitions": 3}, ["cfg"])]
    assert context.node_config == node
