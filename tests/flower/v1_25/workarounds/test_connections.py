"""The SuperLink's database connections."""

import sqlite3
import threading

import pytest
from flwr.common.constant import Status, SubStatus
from flwr.common.inflatable import get_object_tree, no_object_id_recompute
from flwr.common.typing import RunStatus
from flwr.server.superlink.utils import check_abort
from flwr.supercore.utils import uint64_to_int64

from oneflower.flower.v1_25.lane import LANE, Rank
from oneflower.flower.v1_25.workarounds import connections
from oneflower.flower.v1_25.workarounds.connections import WORKAROUND


@pytest.fixture
def opened(monkeypatch):
    """Count the connections that are opened from now on."""
    count = []
    connect = sqlite3.connect

    def counting(*arguments, **options):
        count.append(1)
        return connect(*arguments, **options)

    monkeypatch.setattr("flwr.supercore.sqlite_mixin.sqlite3.connect", counting)
    return count


def one_call(superlink):
    """What a servicer does for each call: a link state, with an object store inside, and an object store."""
    return superlink.states.state(), superlink.objects.store()


def in_a_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def test_flower_opens_three_connections_for_a_call(superlink, opened):
    for _ in range(10):
        one_call(superlink)
    assert len(opened) == 30


def test_a_thread_opens_two_connections_for_all_its_calls(superlink, opened, apply):
    apply(WORKAROUND)
    for _ in range(10):
        one_call(superlink)
    assert len(opened) == 2


def test_threads_do_not_share_a_connection(superlink, apply):
    """SQLite refuses a connection in a thread that has not opened it."""
    apply(WORKAROUND)
    state, _ = one_call(superlink)
    assert in_a_thread(lambda: superlink.states.state() is not state)
    assert in_a_thread(lambda: superlink.states.state().get_run(superlink.run_id).run_id) == superlink.run_id


def test_threads_that_have_the_lane_share_its_connections(superlink, opened, apply):
    """Thousands of calls of hundreds of threads need two connections, and few files."""
    apply(WORKAROUND)
    message_ids = []

    def call():
        with LANE.turn(Rank.MESSAGE):
            one_call(superlink)
            message_ids.append(superlink.push(superlink.message(values=(len(message_ids),))))

    for _ in range(20):
        in_a_thread(call)
    assert len(opened) == 2
    assert len(set(message_ids)) == 20


def test_a_locked_database_is_waited_for(superlink, apply):
    apply(WORKAROUND)
    assert superlink.states.state().query("PRAGMA busy_timeout") == [{"timeout": 60_000}]


def test_rows_are_found_by_an_index(superlink, apply):
    """Each question for work would read all messages, and each object that goes all objects."""
    apply(WORKAROUND)
    state = superlink.states.state()
    for table, column in (
        ("message_ins", "dst_node_id"),
        ("message_res", "reply_to_message_id"),
        ("message_res", "src_node_id"),
        ("object_children", "child_id"),
        ("run_objects", "object_id"),
    ):
        (row, *_) = state.query(f"EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE {column} = 1")
        assert "USING INDEX oneflower" in row["detail"]


def test_two_superlinks_do_not_share_a_connection(superlink, apply, tmp_path):
    apply(WORKAROUND)
    other = type(superlink)(tmp_path / "other.db")
    assert superlink.states.state().get_run(other.run_id) is None


def test_what_one_thread_writes_another_reads(superlink, apply):
    apply(WORKAROUND)
    one_call(superlink)
    message_id = in_a_thread(lambda: superlink.push(superlink.message()))
    (message,) = superlink.states.state().get_message_ins(superlink.node_id, 1)
    assert message.metadata.message_id == message_id


def test_more_threads_than_files_allow_open_and_close_as_flower_does(superlink, opened, apply, monkeypatch):
    monkeypatch.setattr(connections, "MAX_THREADS", 0)
    apply(WORKAROUND)
    for _ in range(10):
        one_call(superlink)
    assert len(opened) == 30


def test_a_thread_that_ended_makes_room(superlink, opened, apply, monkeypatch):
    monkeypatch.setattr(connections, "MAX_THREADS", 1)
    apply(WORKAROUND)
    in_a_thread(lambda: one_call(superlink))
    opened.clear()
    for _ in range(10):
        one_call(superlink)
    assert len(opened) == 2


def test_the_federation_looks_at_the_link_state_that_was_asked_for_last(superlink, apply):
    """As without the workaround, where each call constructs one: another thread's could not be used."""
    apply(WORKAROUND)
    mine = superlink.states.state()
    in_a_thread(superlink.states.state)
    superlink.states.state()
    assert mine.federation_manager.linkstate is mine


def test_a_token_that_has_expired_is_still_cleaned_up(superlink, apply):
    apply(WORKAROUND)
    state = superlink.states.state()
    state.create_token(superlink.run_id)
    state.query("UPDATE token_store SET active_until = 1")
    assert state.get_run_status({superlink.run_id})[superlink.run_id].sub_status == "failed"


def test_looking_for_expired_tokens_does_not_take_the_write_lock(superlink, apply):
    apply(WORKAROUND)
    state = superlink.states.state()
    writer = sqlite3.connect(superlink.database, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        state.conn.execute("PRAGMA busy_timeout = 0")
        assert state.get_run_status({superlink.run_id})[superlink.run_id].status == "running"
    finally:
        writer.close()


def test_flower_takes_the_write_lock_for_it(superlink):
    state = superlink.states.state()
    writer = sqlite3.connect(superlink.database, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        state.conn.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            state.get_run_status({superlink.run_id})
    finally:
        writer.close()


def statements(connection, function):
    """Return the statements that a function executes."""
    found = []
    connection.set_trace_callback(found.append)
    try:
        function()
    finally:
        connection.set_trace_callback(None)
    return found


def tree_of(message):
    with no_object_id_recompute():
        return get_object_tree(message)


@pytest.mark.parametrize(("mended", "times"), [(False, 5), (True, 1)])
def test_the_objects_of_a_message_are_registered_in_one_transaction(superlink, apply, mended, times):
    if mended:
        apply(WORKAROUND)
    store, tree = superlink.objects.store(), tree_of(superlink.message())
    done = statements(store.conn, lambda: store.preregister(superlink.run_id, tree))
    assert done.count("COMMIT") == times == done.count("BEGIN ")
    assert len(store) == 5
    gone = statements(store.conn, lambda: store.delete(tree.object_id))
    assert len(store) == 0
    if mended:
        assert gone.count("COMMIT") == 1


def test_of_a_tree_that_is_refused_nothing_is_registered(superlink, apply):
    apply(WORKAROUND)
    store, tree = superlink.objects.store(), tree_of(superlink.message())
    tree.children.add(object_id="no hash").children.add(object_id="0" * 64)
    with pytest.raises(ValueError, match="Invalid object ID"):
        store.preregister(superlink.run_id, tree)
    assert len(store) == 0
    assert not store.conn.in_transaction
    store.preregister(superlink.run_id, tree_of(superlink.message()))
    assert len(store) == 5


@pytest.mark.parametrize("mended", [False, True])
def test_a_call_does_not_count_the_objects(superlink, apply, mended):
    if mended:
        apply(WORKAROUND)
    state, store = one_call(superlink)
    done = statements(store.conn, lambda: check_abort(superlink.run_id, [], state, store))
    assert any("COUNT(*)" in each for each in done) is not mended


def test_the_objects_of_a_run_that_is_over_still_go(superlink, apply):
    apply(WORKAROUND)
    state, store = one_call(superlink)
    store.preregister(superlink.run_id, tree_of(superlink.message()))
    state.update_run_status(superlink.run_id, RunStatus(Status.FINISHED, SubStatus.COMPLETED, ""))
    check_abort(superlink.run_id, [], state, store)
    assert len(store) == 0


def test_the_objects_of_a_run_go_a_few_at_a_time(superlink, apply, monkeypatch):
    """A call that has the lane does not wait for them, and others go on in between."""
    apply(WORKAROUND)
    monkeypatch.setattr(connections, "OF_RUN", connections.OF_RUN.replace("200", "2"))
    with LANE.turn(Rank.MESSAGE):
        store = superlink.objects.store()
        for number in range(3):
            store.preregister(superlink.run_id, tree_of(superlink.message(values=(number,))))
        kept = superlink.message(values=(7,))
        store.preregister(superlink.run_id + 1, tree_of(kept))
        store.delete_objects_in_run(superlink.run_id)
        cleaner = connections.CLEARED[superlink.run_id]
        assert len(store) > 5
    cleaner.join(20)
    assert not cleaner.is_alive()
    with LANE.turn(Rank.MESSAGE):
        assert kept.object_id in store
        assert not store.query(connections.OF_RUN, (uint64_to_int64(superlink.run_id),))
        assert len(store) == 5
    assert superlink.run_id not in connections.CLEARED


def test_tokens_are_looked_for_once_a_second(superlink, apply, monkeypatch):
    apply(WORKAROUND)
    now = [0.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: now[0])
    state = superlink.states.state()

    def looked():
        done = statements(state.conn, lambda: state.get_run_status({superlink.run_id}))
        return any("token_store" in each for each in done)

    assert [looked(), looked()] == [True, False]
    now[0] = connections.CLEANUP_S
    assert looked()
