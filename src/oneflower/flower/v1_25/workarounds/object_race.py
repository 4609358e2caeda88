"""Two clients may push one object at once (frozen layers, equal metrics)."""

import threading
from functools import wraps
from typing import Any

from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supercore.object_store.sqlite_object_store import SqliteObjectStore

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Workaround

CHANGES = ("preregister", "delete", "delete_objects_in_run")


def apply(patch: Patch) -> None:
    """Let one thread at a time register or delete objects; SQLite has one writer in any case."""
    lock = threading.RLock()
    for store in (SqliteObjectStore, InMemoryObjectStore):
        for name in CHANGES:
            patch(store, name, _one_at_a_time(getattr(store, name), lock))


def _one_at_a_time(original: Any, lock: Any) -> Any:
    @wraps(original)
    def change(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return original(*args, **kwargs)

    return change


WORKAROUND = Workaround(
    name="object-store-race",
    # preregister looks an object up and inserts it in two steps, each call on a connection of its own, and
    # delete may remove a child between the two: the caller's reply is refused and lost.
    defect="'UNIQUE constraint failed: objects.object_id' in preregister: sqlite_object_store.py:83",
    programs=frozenset({Program.SUPERLINK, Program.SUPERNODE}),
    sources={
        "flwr.supercore.object_store.sqlite_object_store": {
            "SqliteObjectStore.preregister": "a9d5168debb8",
            "SqliteObjectStore.delete": "e27309f36184",
            "SqliteObjectStore.delete_objects_in_run": "f8870bb1a76b",
        },
        "flwr.supercore.object_store.in_memory_object_store": {
            "InMemoryObjectStore.preregister": "9e051ec570df",
            "InMemoryObjectStore.delete": "e6ab07f837d6",
            "InMemoryObjectStore.delete_objects_in_run": "dee23750dfc2",
        },
    },
    apply=apply,
)
