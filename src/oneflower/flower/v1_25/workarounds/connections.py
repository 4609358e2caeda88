"""The SuperLink keeps its database connections instead of opening five for each call.

It looks rows up by an index, adds up what is counted, and copies the write-ahead log where no call waits.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from flwr.common.date import now
from flwr.server.superlink.linkstate.linkstate_factory import LinkStateFactory
from flwr.server.superlink.linkstate.sqlite_linkstate import SqliteLinkState
from flwr.supercore import sqlite_mixin
from flwr.supercore.corestate.sqlite_corestate import SqliteCoreState
from flwr.supercore.object_store import object_store_factory
from flwr.supercore.object_store.object_store_factory import ObjectStoreFactory
from flwr.supercore.object_store.sqlite_object_store import SqliteObjectStore
from flwr.supercore.sqlite_mixin import SqliteMixin
from flwr.supercore.utils import uint64_to_int64

from oneflower.flower.v1_25.lane import LANE, Rank
from oneflower.flower.v1_25.upkeep import Upkeep
from oneflower.flower.v1_25.workarounds.objects import CHANGING
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

MAX_THREADS: Final = 48
"""A thread outside the lane keeps two connections with three open files each."""
CACHE_KIB: Final = 2048
"""Flower gives a connection 64 MiB, which it frees when it closes it; these are not closed."""
BUSY_S: Final = 60.0
"""SQLite's own is 5 s: a message is lost where the database is locked for longer."""
INDEXES: Final = {
    SqliteObjectStore: ("object_children(child_id)", "run_objects(object_id)"),
    SqliteLinkState: (
        "message_ins(dst_node_id)",
        "message_res(reply_to_message_id)",
        "message_res(src_node_id)",
    ),
}
"""Flower has none of these: each question for work reads all messages, each object that goes all objects."""


OF_RUN: Final = "SELECT object_id FROM run_objects WHERE run_id = ? LIMIT 200"
FORGET: Final = "DELETE FROM run_objects WHERE run_id = ? AND object_id = ?"
CLEARED: Final[dict[int, threading.Thread]] = {}
"""Runs whose objects are being deleted by a thread, because a call that has the lane has asked for it."""
CLEANUP_S: Final = 1.0
"""Flower looks for expired tokens with each call; one is of use for so much longer at most."""


class Connection(sqlite3.Connection):
    """A connection on which several transactions can be one."""

    _is_whole = False

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Commit what is written meanwhile once, at the end, or none of it."""
        if self._is_whole:
            yield
            return
        with self:
            self._is_whole = True
            try:
                yield
            finally:
                self._is_whole = False

    def __exit__(self, *error: Any) -> Any:  # noqa: PYI036 - as three arguments
        """End a transaction, unless it is part of a larger one."""
        return None if self._is_whole else super().__exit__(*error)


class Store(SqliteObjectStore):
    """Flower's store, where what goes through many objects is one transaction: each is committed there."""

    def __bool__(self) -> bool:
        """Say that there is a store; Python would count its objects, with each call of a node."""
        return True

    def _whole(self) -> AbstractContextManager[None]:
        return self.conn.whole()  # type: ignore[attr-defined,no-any-return]  # Databases made it

    def preregister(self, run_id: int, object_tree: Any) -> list[str]:
        """Register the objects of a tree, or none."""
        with CHANGING, self._whole():
            return super().preregister(run_id, object_tree)

    def delete(self, object_id: str) -> None:
        """Delete an object, and what no other refers to."""
        with CHANGING, self._whole():
            super().delete(object_id)

    def delete_objects_in_run(self, run_id: int) -> None:
        """Delete the objects of a run, a few at a time: other calls go on in between."""
        if not LANE.is_mine():
            self._clear(run_id)
        elif run_id not in CLEARED:
            CLEARED[run_id] = threading.Thread(target=self._clear, args=(run_id,), daemon=True)
            CLEARED[run_id].start()

    def _clear(self, run_id: int) -> None:
        try:
            while self._clear_some(uint64_to_int64(run_id)):
                pass
        finally:
            CLEARED.pop(run_id, None)

    def _clear_some(self, run: int) -> bool:
        with LANE.turn(Rank.OBJECT), CHANGING, self._whole():
            found = [row["object_id"] for row in self.query(OF_RUN, (run,))]
            for object_id in found:
                super().delete(object_id)
                self.conn.execute(FORGET, (run, object_id))
        return bool(found)


class Databases:
    """The module ``sqlite3``, whose connections wait longer and may be handed from thread to thread."""

    def __getattr__(self, name: str) -> Any:
        """Return whatever else the module has."""
        return getattr(sqlite3, name)

    def connect(self, path: str) -> sqlite3.Connection:
        """Open a database; the caller sees that one thread at a time uses the connection."""
        return sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False, factory=Connection)


class Kept:
    """The states and stores that the factories made: those of the lane, and of a few threads outside it."""

    def __init__(self) -> None:
        self._of_lane: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self._local = threading.local()
        self._lock = threading.Lock()
        self._threads: set[int] = set()

    def of_this_thread(self) -> "WeakKeyDictionary[Any, Any] | None":
        """Return what this thread may use, by factory; None where too many threads keep something already."""
        if LANE.is_mine():
            return self._of_lane
        kept: WeakKeyDictionary[Any, Any] | None = getattr(self._local, "kept", None)
        if kept is None and self._admit():
            kept = self._local.kept = WeakKeyDictionary()
        return kept

    def _admit(self) -> bool:
        with self._lock:
            alive = {thread.ident for thread in threading.enumerate()}
            self._threads = {ident for ident in self._threads if ident in alive}
            if len(self._threads) >= MAX_THREADS:
                return False
            self._threads.add(threading.get_ident())
            return True


def apply(patch: Patch) -> None:
    """Keep link states and object stores, and write to the database only where there is something to do."""
    kept, upkeep = Kept(), Upkeep()
    patch(sqlite_mixin, "sqlite3", Databases())
    patch(object_store_factory, "SqliteObjectStore", Store)
    patch(ObjectStoreFactory, "store", _keeping(ObjectStoreFactory.store, kept, upkeep))
    patch(LinkStateFactory, "state", _keeping(LinkStateFactory.state, kept, upkeep))
    cleanup = SqliteCoreState._cleanup_expired_tokens  # noqa: SLF001 - it is what is mended
    next_cleanup: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    @wraps(cleanup)
    def cleanup_expired_tokens(self: Any) -> None:
        if time.monotonic() < next_cleanup.get(self, 0.0):
            return
        next_cleanup[self] = time.monotonic() + CLEANUP_S
        query = "SELECT 1 FROM token_store WHERE active_until < ? LIMIT 1"
        if self.conn.execute(query, (now().timestamp(),)).fetchone():
            cleanup(self)

    patch(SqliteCoreState, "_cleanup_expired_tokens", cleanup_expired_tokens)
    for name in ("store_traffic", "add_clientapp_runtime"):
        patch(SqliteLinkState, name, upkeep.adding_up(getattr(SqliteLinkState, name)))


def _keeping(make: Any, kept: Kept, upkeep: Upkeep) -> Any:
    @wraps(make)
    def keep(self: Any) -> Any:
        mine = kept.of_this_thread()
        if mine is None:
            return make(self)
        if self not in mine:
            mine[self] = made = make(self)
            if isinstance(made, SqliteMixin):
                _prepare(made)
                upkeep.watch(Path(made.database_path), self)
        found = mine[self]
        if isinstance(found, SqliteLinkState) and not LANE.is_mine():
            found.federation_manager.linkstate = (
                found  # as its constructor does: the last one that was asked for
            )
        return found

    return keep


def _prepare(made: Any) -> None:
    """Give a connection that stays open a small cache and no copying of the log; add the indexes."""
    made.conn.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    made.conn.execute("PRAGMA wal_autocheckpoint = 0")
    for kind, columns in INDEXES.items():
        for each in columns if isinstance(made, kind) else ():
            name = "oneflower_" + each.replace("(", "_").rstrip(")")
            made.conn.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {each}")


WORKAROUND = Workaround(
    name="kept-connections",
    purpose=Purpose.SPEED,
    effect="Each call opens the database up to five times and takes its write lock to delete expired "
    "tokens: 2.5 of the 4 ms that a call takes; and it counts all objects, so that each takes longer the "
    "more there are.",
    cause="connections that are opened for each call: linkstate_factory.py:73, object_store_factory.py:61, "
    "node_auth_server_interceptor.py:128; a write: sqlite_corestate.py:138; the truth of a store is its "
    "number of objects: superlink/utils.py:49; a transaction for each: sqlite_object_store.py:83",
    programs=frozenset({Program.SUPERLINK}),
    after=("zero-byte-traffic",),
    sources={
        "flwr.server.superlink.linkstate.linkstate_factory": {"LinkStateFactory.state": "a685e27c974c"},
        "flwr.supercore.object_store.object_store_factory": {
            "ObjectStoreFactory.store": "7990ab871e5c",
            "SqliteObjectStore": "fbb06e485428",
        },
        "flwr.supercore.corestate.sqlite_corestate": {
            "SqliteCoreState._cleanup_expired_tokens": "21fc93c538f1",
            "SQL_CREATE_TABLE_TOKEN_STORE": "8673dd3b3f91",
        },
        "flwr.supercore.sqlite_mixin": {
            "SqliteMixin": "70e4c64db746",
            "sqlite3": "af328599ee6b",
        },
        "flwr.server.superlink.utils": {"check_abort": "56036869c534"},
        "flwr.supercore.object_store.sqlite_object_store": {
            "SqliteObjectStore": "fbb06e485428",
            "SqliteObjectStore.preregister": "a9d5168debb8",
            "SqliteObjectStore.delete": "e27309f36184",
            "SqliteObjectStore.delete_objects_in_run": "f8870bb1a76b",
            "SqliteObjectStore.__len__": "2c0aa8507d07",
            "SqliteObjectStore.get_sql_statements": "4673955ed132",
            "SQL_CREATE_OBJECT_CHILDREN": "097edb20b7a5",
            "SQL_CREATE_RUN_OBJECTS": "fa6f32058775",
        },
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.__init__": "5aa214b12c03",
            "SqliteLinkState.store_traffic": "af0874f0f4bc",
            "SqliteLinkState.add_clientapp_runtime": "e06ebb032f7c",
            "SQL_CREATE_TABLE_MESSAGE_INS": "076e067c500f",
            "SQL_CREATE_TABLE_MESSAGE_RES": "315ccfab44d0",
        },
        "flwr.common.date": {"now": "3bbbf9bb2c01"},
        "flwr.supercore.utils": {"uint64_to_int64": "25954f49d88d"},
    },
    apply=apply,
)
