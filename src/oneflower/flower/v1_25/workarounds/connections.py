"""The SuperLink keeps its database connections instead of opening five for each call."""

import threading
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

from flwr.common.date import now
from flwr.server.superlink.linkstate.linkstate_factory import LinkStateFactory
from flwr.server.superlink.linkstate.sqlite_linkstate import SqliteLinkState
from flwr.supercore.corestate.sqlite_corestate import SqliteCoreState
from flwr.supercore.object_store.object_store_factory import ObjectStoreFactory
from flwr.supercore.sqlite_mixin import SqliteMixin

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

MAX_THREADS = 48
"""A thread keeps two connections with three open files each; the usual limit is 1024 files."""
CACHE_KIB = 2048
"""Flower gives a connection 64 MiB, which it frees when it closes it; these are not closed."""


class Kept:
    """The states and stores that the factories made, by thread: a SQLite connection belongs to its thread."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._threads: set[int] = set()

    def of_this_thread(self) -> "WeakKeyDictionary[Any, Any] | None":
        """Return what this thread keeps, by factory; None where too many threads keep something already."""
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
    kept = Kept()
    patch(ObjectStoreFactory, "store", _keeping(ObjectStoreFactory.store, kept))
    patch(LinkStateFactory, "state", _keeping(LinkStateFactory.state, kept))
    cleanup = SqliteCoreState._cleanup_expired_tokens  # noqa: SLF001 - it is what is mended

    @wraps(cleanup)
    def cleanup_expired_tokens(self: Any) -> None:
        query = "SELECT 1 FROM token_store WHERE active_until < ? LIMIT 1"
        if self.conn.execute(query, (now().timestamp(),)).fetchone():
            cleanup(self)

    patch(SqliteCoreState, "_cleanup_expired_tokens", cleanup_expired_tokens)


def _keeping(make: Any, kept: Kept) -> Any:
    @wraps(make)
    def keep(self: Any) -> Any:
        mine = kept.of_this_thread()
        if mine is None:
            return make(self)
        if self not in mine:
            mine[self] = made = make(self)
            if isinstance(made, SqliteMixin):
                made.conn.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        found = mine[self]
        if isinstance(found, SqliteLinkState):
            found.federation_manager.linkstate = (
                found  # as its constructor does: the last one that was asked for
            )
        return found

    return keep


WORKAROUND = Workaround(
    name="kept-connections",
    purpose=Purpose.SPEED,
    effect="Each call opens the database up to five times and takes its write lock to delete expired "
    "tokens: 2.5 of the 4 ms that a call takes.",
    cause="connections that are opened for each call: linkstate_factory.py:73, object_store_factory.py:61, "
    "node_auth_server_interceptor.py:128; a write: sqlite_corestate.py:138",
    programs=frozenset({Program.SUPERLINK}),
    sources={
        "flwr.server.superlink.linkstate.linkstate_factory": {"LinkStateFactory.state": "a685e27c974c"},
        "flwr.supercore.object_store.object_store_factory": {"ObjectStoreFactory.store": "7990ab871e5c"},
        "flwr.supercore.corestate.sqlite_corestate": {
            "SqliteCoreState._cleanup_expired_tokens": "21fc93c538f1",
            "SQL_CREATE_TABLE_TOKEN_STORE": "8673dd3b3f91",
        },
        "flwr.supercore.sqlite_mixin": {"SqliteMixin": "70e4c64db746"},
        "flwr.server.superlink.linkstate.sqlite_linkstate": {"SqliteLinkState.__init__": "5aa214b12c03"},
        "flwr.common.date": {"now": "3bbbf9bb2c01"},
    },
    apply=apply,
)
