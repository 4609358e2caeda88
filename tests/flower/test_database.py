"""A SuperLink's database that is none is set aside; one that cannot be read just now is left alone."""

import sqlite3
from contextlib import closing

import pytest

from oneflower.flower.database import set_aside_damaged


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE run (id INTEGER, text TEXT)")
        connection.executemany("INSERT INTO run VALUES (?, ?)", [(n, "x" * 500) for n in range(200)])
        connection.commit()
    return path


def test_a_good_one_stays(database):
    assert set_aside_damaged(database) is None
    assert database.exists()


def test_none_is_no_damage(tmp_path):
    assert set_aside_damaged(tmp_path / "state.db") is None


def test_one_whose_first_page_is_zeroed_is_set_aside_with_its_log(database):
    with database.open("r+b") as file:
        file.write(bytes(4096))
    database.with_name("state.db-wal").write_bytes(b"of the old one")
    assert set_aside_damaged(database).name == "state.db.damaged.1"
    assert not database.exists()
    assert not list(database.parent.glob("state.db-*"))
    database.write_bytes(b"no database" * 1000)
    assert set_aside_damaged(database).name == "state.db.damaged.2"


def test_damage_in_the_middle_is_found(database):
    with database.open("r+b") as file:
        file.seek(4096 * 5)
        file.write(b"\xff" * 4096)
    assert set_aside_damaged(database) is not None


def test_a_locked_one_and_a_large_one_stay(database):
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        assert set_aside_damaged(database) is None
    ticks = iter(range(0, 10**9, 3))
    assert set_aside_damaged(database, clock=lambda: next(ticks)) is None
