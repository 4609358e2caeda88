"""What the database needs now and then."""

import sqlite3

import pytest

from oneflower.flower.v1_25 import upkeep
from oneflower.flower.v1_25.upkeep import Upkeep, _copy_log


@pytest.fixture
def counted():
    """Return what counts, and the calls that have written the sums."""
    calls = []

    def store_traffic(_state, run_id, *, bytes_sent, bytes_recv):
        calls.append((run_id, bytes_sent, bytes_recv))

    def add_clientapp_runtime(_state, run_id, runtime):
        calls.append((run_id, runtime))

    return calls, store_traffic, add_clientapp_runtime


def test_what_is_counted_is_written_once(counted):
    calls, store_traffic, add_runtime = counted
    kept = Upkeep()
    traffic, runtime = kept.adding_up(store_traffic), kept.adding_up(add_runtime)
    for _ in range(3):
        traffic(None, 7, bytes_sent=10, bytes_recv=1)
        runtime(None, 7, 0.5)
    traffic(None, 8, bytes_sent=0, bytes_recv=5)
    assert calls == []
    kept.write(None)
    assert sorted(calls, key=repr) == sorted([(7, 30, 3), (7, 1.5), (8, 0, 5)], key=repr)
    kept.write(None)
    assert len(calls) == 3


def test_a_run_that_is_gone_spoils_no_other():
    calls = []

    def store_traffic(_state, run_id, *, bytes_sent):
        if run_id == 1:
            raise ValueError("Run 1 not found")
        calls.append((run_id, bytes_sent))

    kept = Upkeep()
    traffic = kept.adding_up(store_traffic)
    traffic(None, 1, bytes_sent=1)
    traffic(None, 2, bytes_sent=2)
    kept.write(None)
    assert calls == [(2, 2)]


def test_negative_traffic_is_refused():
    with pytest.raises(ValueError, match="bytes_sent is -1; expected no negative number"):
        Upkeep().adding_up(lambda: None)(None, 1, bytes_sent=-1)


def test_a_long_log_is_copied_and_begun_again(tmp_path, monkeypatch):
    database = tmp_path / "state.db"
    writer = sqlite3.connect(database)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("CREATE TABLE t (x BLOB)")
    log, sizes = database.with_name("state.db-wal"), []
    for _ in range(5):
        with writer:
            writer.execute("INSERT INTO t VALUES (zeroblob(1000000))")
        _copy_log(database)
        sizes.append(log.stat().st_size)
    assert sizes == [0] * 5, "its disk is given back"
    assert writer.execute("SELECT count(*) FROM t").fetchone() == (5,)


def test_a_log_that_somebody_reads_stays_until_the_next_time(tmp_path):
    database = tmp_path / "state.db"
    writer, reader = (sqlite3.connect(database, isolation_level=None) for _ in range(2))
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (x BLOB)")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchall()
    writer.execute("INSERT INTO t VALUES (zeroblob(1000000))")
    log = database.with_name("state.db-wal")
    _copy_log(database)
    assert log.stat().st_size > 1_000_000
    reader.execute("COMMIT")
    _copy_log(database)
    assert log.stat().st_size == 0
    assert writer.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_the_traffic_of_a_run_reaches_the_database(superlink, monkeypatch):
    kept = Upkeep()
    state = superlink.states.state()
    kept.adding_up(type(state).store_traffic)(state, superlink.run_id, bytes_sent=3, bytes_recv=4)
    monkeypatch.setattr(upkeep, "EVERY_S", 0.01)
    kept.watch(superlink.database, superlink.states)
    for _ in range(2000):
        run = superlink.states.state().get_run(superlink.run_id)
        if run.bytes_sent:
            break
    assert (run.bytes_sent, run.bytes_recv) == (3, 4)
