"""A client's state is kept by the place of its message, given back at a resume, and refused when damaged."""

import io
import math
import zipfile

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from oneflower.flower.arguments import STATE_VARIABLE
from oneflower.flower.calls import client_state
from oneflower.flower.calls.call import call_client
from oneflower.flower.calls.client_state import MOST_TRAININGS
from oneflower.flower.calls.control import Control, with_control
from oneflower.flower.calls.state_file import RECORDS, dumped, loaded
from oneflower.flower.client_mark import take_mark

# --- the file ------------------------------------------------------------------------------------------


SCALARS = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(),
    str: st.text(),
    bytes: st.binary(),
}
LISTS = st.one_of(*(st.lists(each, max_size=4) for each in SCALARS.values()))
CONFIGS = st.dictionaries(st.text(), st.one_of(*SCALARS.values(), LISTS), max_size=4)


def bits(value):
    return repr(value) if not isinstance(value, float) or not math.isnan(value) else "nan"


@settings(max_examples=60, deadline=None)
@given(CONFIGS)
def test_records_come_back_with_the_same_types_and_bits(values):
    found = loaded(dumped(RecordDict({"a": ConfigRecord(values)})))["a"]
    assert list(found) == list(values)
    for key, value in values.items():
        assert type(found[key]) is type(value)
        assert repr(found[key]) == repr(value)


def test_arrays_and_metrics_come_back_and_numpy_opens_the_file():
    arrays = {"w": Array(np.arange(6, dtype=np.float32).reshape(2, 3)), "n": Array(np.array(5))}
    state = RecordDict({"c": ArrayRecord(arrays), "m": MetricRecord({"loss": 0.1, "all": [1, 2]})})
    data = dumped(state)
    assert data == dumped(loaded(data)) == dumped(state)
    found = loaded(data)
    assert found["m"] == state["m"]
    assert np.array_equal(found["c"]["w"].numpy(), arrays["w"].numpy())
    assert np.array_equal(np.load(io.BytesIO(data))["000000"], arrays["w"].numpy())


def zipped(members, how=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, text in members:
            archive.writestr(name, text)
    return file.getvalue()


HEAD = '{"format":"oneflower.client-state.1","records":'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 not a zip",
        dumped(RecordDict({"a": ConfigRecord({"b": 1})}))[:-5],
        zipped([(RECORDS, "[" * 100_000)]),
        zipped([(RECORDS, "{}")]),
        zipped([("other", "{}")]),
        zipped([(RECORDS, '{"format":"another","records":[]}')]),
        zipped([(RECORDS, HEAD + "[]}"), ("000000.npy", "x")]),
        zipped([(RECORDS, HEAD + '[["a","arrays",[["w","float32",[2],"numpy.ndarray"]]]]}')]),
        zipped([(RECORDS, HEAD + '[["a","pickle",[]]]}')]),
        zipped([(RECORDS, HEAD + '[["a","config",[["b","int","1"]]]]}')]),
        zipped([(RECORDS, HEAD + '[["a","config",[["b","object",1]]]]}')]),
        zipped([(RECORDS, HEAD + '[["a","config",[["b","bytes","%%%"]]]]}')]),
        zipped([(RECORDS, HEAD + '[["a","metrics",[["b","str","text"]]]]}')]),
        zipped([(RECORDS, HEAD + '[["a","arrays",[["w","float32",[-2],"x"]]]]}'), ("000000.npy", "x")]),
        zipped([(RECORDS, HEAD + "[]}")], zipfile.ZIP_DEFLATED),
    ],
)
def test_a_hostile_file_is_refused(data):
    with pytest.raises(ValueError, match=r".+"):
        loaded(data)


# --- the place of a message --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    return tmp_path / "state"


class Client:
    """A client that counts its messages in its state; `run` is what Flower keeps for one run."""

    def __init__(self):
        self.state = RecordDict()

    def restart(self):
        self.state = RecordDict()

    def __call__(
        self, server_round, step=1, *, session="aa", base=0, kept=(), partition=0, app=None, training="ab"
    ):
        control = Control(
            training=training * 8,
            session=session * 8,
            round=server_round,
            step=step,
            seed=1,
            resumed_from=base,
            kept=kept,
        )
        message = Message(with_control(RecordDict(), control), 1, "train")
        message.metadata.__dict__["_src_node_id"] = 2
        context = Context(
            run_id=1, node_id=1, node_config={"partition-id": partition}, state=self.state, run_config={}
        )
        reply = call_client(app or counting, message, context)
        self.state, self.mark = context.state, take_mark(reply)
        return reply.error.reason if reply.has_error() else reply.content["seen"]["calls"]


def counting(message, context):
    calls = context.state["counter"]["calls"] if "counter" in context.state else 0
    context.state["counter"] = ConfigRecord({"calls": calls + 1})
    return Message(RecordDict({"seen": ConfigRecord({"calls": calls})}), reply_to=message)


def files(folder):
    return sorted(path.name[:12] for path in folder.rglob("*.npz"))


def test_a_resume_gives_the_state_of_its_checkpoint_back(folder):
    client = Client()
    assert [client(r, s, kept=range(r)) for r in (1, 2, 3) for s in (1, 2)] == [0, 1, 2, 3, 4, 5]
    client.restart()
    # the checkpoint of round 2 was written after its training, and its evaluation is done again
    assert client(2, 2, session="bb", base=2, kept=(1, 2)) == 3
    assert client.mark.state_of == 2
    assert client(3, 1, session="bb", base=2, kept=(1, 2)) == 4
    client.restart()
    assert client(3, 1, session="cc", base=2, kept=(1, 2)) == 3


def test_an_attempt_that_is_repeated_starts_like_the_first(folder):
    client = Client()
    assert [client(1), client(1), client(1), client(2), client(2)] == [0, 0, 0, 1, 1]


def test_what_a_client_left_out_in_the_new_history_had_done_is_dropped(folder):
    client = Client()
    for number in (1, 2, 3):
        client(number, kept=(1,))
    client.restart()
    assert client(5, session="bb", base=1, kept=(1,)) == 1


def test_a_training_that_goes_back_in_its_run_drops_what_flower_still_holds(folder):
    client = Client()
    client(1)
    assert client(1, session="bb", base=0) == 0


def test_a_message_of_an_earlier_session_changes_nothing(folder):
    client, slow = Client(), Client()
    client(1, kept=(0, 1))
    client(2, session="bb", base=1, kept=(1,))
    assert slow(2, session="aa", kept=(0,)) == 1
    assert client(3, session="bb", base=1, kept=(1, 2)) == 2


def test_only_what_a_resume_needs_is_kept(folder):
    client = Client()
    for number in range(1, 20):
        for step in (1, 2):
            client(number, step, kept=tuple(range(max(0, number - 3), number)))
    assert files(folder) == [
        "0000000016-1", "0000000017-1", "0000000018-1", "0000000019-1", "0000000019-2"
    ]  # fmt: skip


def test_an_unchanged_state_is_not_written_again(folder):
    client = Client()

    def looking(message, context):
        return Message(RecordDict({"seen": ConfigRecord({"calls": 0})}), reply_to=message)

    client(1, app=looking)
    assert files(folder) == []
    client(2)
    for number in range(3, 9):
        client(number, app=looking, kept=(number - 1,))
    assert files(folder) == ["0000000002-1"]
    assert client(9) == 1


def test_partitions_and_trainings_have_their_own_and_old_trainings_are_forgotten(folder):
    client = Client()
    for options in ({"partition": 0}, {"partition": 1}, {"training": "cd"}):
        client.restart()
        assert client(1, **options) == 0
    for number in range(MOST_TRAININGS + 3):
        client.restart()
        client(1, training=f"{number:02x}")
    assert sum(each.is_dir() for each in folder.iterdir()) == MOST_TRAININGS


def test_after_an_exception_the_state_is_that_from_before(folder):
    client = Client()
    client(1)

    def raising(message, context):
        counting(message, context)
        raise ValueError("by hand")

    assert "by hand" in client(2, app=raising)
    assert client(3) == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "renamed", "link"])
def test_a_damaged_file_is_set_aside_named_and_an_older_one_is_used(folder, damage, tmp_path):
    client = Client()
    for number in (1, 2, 3):
        client(number, kept=(1, 2))
    (newest,) = folder.rglob("0000000003-1*.npz")
    if damage == "cut":
        newest.write_bytes(newest.read_bytes()[:-10])
    elif damage == "changed":
        newest.write_bytes(newest.read_bytes().replace(b"counter", b"another"))
    elif damage == "renamed":
        (older,) = folder.rglob("0000000002-1*.npz")
        newest.write_bytes(older.read_bytes())
    else:
        newest.rename(tmp_path / "elsewhere")
        newest.symlink_to(tmp_path / "elsewhere")
    client.restart()
    if damage == "link":
        assert "state could not be read" in client(4, kept=(2, 3))
        return
    assert client(4, kept=(2, 3)) == 2
    assert newest.name in client.mark.state_problem
    assert client.mark.state_of == 2
    assert newest.with_name(newest.name + ".damaged").exists()


def test_a_state_that_cannot_be_written_is_an_error_of_the_client(folder, monkeypatch):
    client = Client()
    client(1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(client_state, "replace_file", full)
        assert "No space left on device" in client(2)
    assert client(2) == 1


def test_without_the_variable_flower_keeps_the_state(monkeypatch):
    monkeypatch.delenv(STATE_VARIABLE, raising=False)
    client = Client()
    assert [client(1), client(1), client(2)] == [0, 1, 2]
    assert not client.mark.keeps_state
