"""The tree of an object is what its content says, however a client has registered it.

Flower keeps as an object's children what the first who names it says they are. Identical objects of several
nodes are one, and their ids can be foretold: a client that registers the frozen layers of a model with a
child that never comes holds up the replies of all others, and the next model.
"""

import logging
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final

from flwr.common.inflatable import (
    get_object_children_ids_from_object_content,
    get_object_id,
    iterate_object_tree,
)
from flwr.proto.message_pb2 import ObjectTree
from flwr.server.superlink.serverappio.serverappio_servicer import ServerAppIoServicer
from flwr.supercore.object_store import NoObjectInStoreError
from flwr.supercore.object_store.sqlite_object_store import SqliteObjectStore

from oneflower.flower.v1_25.lane import LANE
from oneflower.flower.v1_25.workarounds.objects import CHANGING
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

log = logging.getLogger(__name__)
FROM_SERVERAPP: ContextVar[bool] = ContextVar("from_serverapp", default=False)
"""Whether this thread answers a call of the ServerApp's."""

DEEPEST: Final = 8
"""A message has five levels."""
REPEATED, FREE = 4, 10_000
"""A shared object stands in a tree wherever it is shared; a tree may be this much larger than its objects."""
CHILDREN = "SELECT child_id FROM object_children WHERE parent_id = ?"
PARENTS = "SELECT parent_id FROM object_children WHERE child_id = ?"
KNOWN = "SELECT 1 FROM objects WHERE object_id = ?"
EDGES = """
WITH RECURSIVE below(id, depth) AS (
  SELECT ?, 0 UNION SELECT child_id, depth + 1 FROM object_children JOIN below ON parent_id = id
  WHERE depth <= ?
)
SELECT DISTINCT parent_id, child_id FROM object_children JOIN below ON parent_id = id
"""
HEIGHT = """
WITH RECURSIVE below(id, depth) AS (
  SELECT ?, 0 UNION SELECT child_id, depth + 1 FROM object_children JOIN below ON parent_id = id
  WHERE depth <= ?
)
SELECT MAX(depth) AS levels FROM below
"""
DEPTH = """
WITH RECURSIVE above(id, depth) AS (
  SELECT ?, 0 UNION SELECT parent_id, depth + 1 FROM object_children JOIN above ON child_id = id
  WHERE depth <= ?
)
SELECT MAX(depth) AS levels FROM above
"""
REMOVE = "DELETE FROM object_children WHERE parent_id = ? AND child_id = ?"
ADD = "INSERT OR IGNORE INTO object_children (parent_id, child_id) VALUES (?, ?)"
COUNT = "UPDATE objects SET ref_count = ref_count + ? WHERE object_id = ?"
EMPTY = "UPDATE objects SET content = ?, is_available = 0 WHERE object_id = ?"


class Trees:
    """Keep what is registered below an object right, whoever has named it first.

    The SuperLink's ServerApp is believed; a client is believed once the content has come, and before that
    where nobody knows better.
    """

    def __init__(self, put: Any, preregister: Any, push_messages: Any) -> None:
        self._put, self._preregister, self._push_messages = put, preregister, push_messages
        self._of_messages: set[str] = set()
        """Objects of the ServerApp's messages that have not come yet."""

    def put(self, store: Any, object_id: str, object_content: bytes) -> None:
        """Take a content, and make its object's children what it says, if possible before it is here."""
        true = set(get_object_children_ids_from_object_content(object_content))
        was_right = true == _children(store, object_id)
        if not was_right and get_object_id(object_content) == object_id:
            with CHANGING:
                _set_children(store, object_id, true)
        self._put(store, object_id, object_content)  # it compares the content with the id
        if not (was_right and LANE.is_mine()) and true != _children(store, object_id):
            with CHANGING:  # another has named others just now; or it was fetched and deleted since
                _set_children(store, object_id, true)
        self._of_messages.discard(object_id)

    def preregister(self, store: Any, run_id: int, object_tree: Any) -> list[str]:
        """Register a tree; where others have named other children of its objects, decide who is right."""
        with CHANGING:
            wanted: list[str] = self._preregister(store, run_id, object_tree)
            if FROM_SERVERAPP.get():
                self._of_messages.update(wanted)
                _believe(store, object_tree, set(wanted))
            deep = self._is_deep(store, object_tree)
            if deep and _height(object_tree) <= DEEPEST:
                _believe(store, object_tree, set(wanted) - self._of_messages)
                deep = self._is_deep(store, object_tree)
            if deep:
                store.delete(object_tree.object_id)
                raise ValueError(f"objects nested more than {DEEPEST} deep")
        return wanted

    def push_messages(self, servicer: Any, request: Any, context: Any) -> Any:
        """Register the messages of the ServerApp, whose API no client reaches."""
        FROM_SERVERAPP.set(True)
        try:
            return self._push_messages(servicer, request, context)
        finally:
            FROM_SERVERAPP.set(False)

    @staticmethod
    def _is_deep(store: Any, tree: Any) -> bool:
        return _levels(store, HEIGHT, tree.object_id) > DEEPEST


def believe_contents(patch: Patch) -> None:
    """Correct an object's children when its content or the ServerApp names them, and bound its tree."""
    store, servicer = SqliteObjectStore, ServerAppIoServicer
    trees = Trees(store.put, store.preregister, servicer.PushMessages)

    @wraps(store.put)
    def put(self: Any, object_id: str, object_content: bytes) -> None:
        trees.put(self, object_id, object_content)

    @wraps(store.preregister)
    def preregister(self: Any, run_id: int, object_tree: Any) -> list[str]:
        return trees.preregister(self, run_id, object_tree)

    @wraps(servicer.PushMessages)
    def push_messages(self: Any, request: Any, context: Any) -> Any:
        return trees.push_messages(self, request, context)

    patch(store, "put", put)
    patch(store, "preregister", preregister)
    patch(store, "get_object_tree", wraps(store.get_object_tree)(bounded_tree))
    patch(servicer, "PushMessages", push_messages)


def bounded_tree(self: Any, object_id: str) -> Any:
    """Return the tree below an object; without its branches where it is too deep or too large."""
    if not self.query(KNOWN, (object_id,)):
        raise NoObjectInStoreError(f"Object {object_id} was not pre-registered.")
    children: dict[str, list[str]] = {}
    for row in self.query(EDGES, (object_id, DEEPEST)):
        children.setdefault(row["parent_id"], []).append(row["child_id"])
    most = FREE + REPEATED * sum(map(len, children.values()))
    tree = ObjectTree(object_id=object_id)
    pending, count = [(tree, 0)], 0
    while pending:
        node, depth = pending.pop()
        below = children.get(node.object_id, [])
        count += len(below)
        if count > most or (below and depth >= DEEPEST):
            log.warning("tree without its branches object=%s", object_id)
            return ObjectTree(object_id=object_id)
        pending += [(node.children.add(object_id=child), depth + 1) for child in below]
    return tree


def _believe(store: Any, tree: Any, unproven: set[str]) -> None:
    """Give those objects of a tree whose content has not come the children that the tree says."""
    for node in iterate_object_tree(tree):  # children first
        if node.object_id in unproven:
            _set_children(store, node.object_id, {child.object_id for child in node.children})


def _set_children(store: Any, object_id: str, true: set[str]) -> None:
    """Make the registered children the true ones; an object whose children are not here is none.

    Who has put the object at the end of a deep tree loses it.
    """
    registered = _children(store, object_id)
    if true == registered or not store.query(KNOWN, (object_id,)):
        return
    log.warning("object was registered with other children than it has object=%s", object_id)
    missing = true - registered
    heights = [_levels(store, HEIGHT, child) for child in missing if store.query(KNOWN, (child,))]
    parents = [row["parent_id"] for row in store.query(PARENTS, (object_id,))]
    most = DEEPEST - 2 - max(heights, default=0)
    deep = [parent for parent in parents if heights and _levels(store, DEPTH, parent) > most]
    with store.conn as connection:
        for parent in deep:
            _unlink(connection, parent, object_id)
        for child in registered - true:
            _unlink(connection, object_id, child)
        if len(heights) < len(missing):
            connection.execute(EMPTY, (b"", object_id))
        else:
            for child in missing:
                connection.execute(ADD, (object_id, child))
                connection.execute(COUNT, (1, child))
    if len(heights) < len(missing):
        raise ValueError(f"object {object_id} has children that were not registered")


def _unlink(connection: Any, parent: str, child: str) -> None:
    connection.execute(REMOVE, (parent, child))
    connection.execute(COUNT, (-1, child))


def _height(tree: Any) -> int:
    """Return how many levels a tree has below its root, as it was sent."""
    height, level = 0, list(tree.children)
    while level:
        height, level = height + 1, [below for node in level for below in node.children]
    return height


def _children(store: Any, object_id: str) -> set[str]:
    return {row["child_id"] for row in store.query(CHILDREN, (object_id,))}


def _levels(store: Any, query: str, object_id: str) -> int:
    """Return how many levels there are below an object, or above it; one more than the limit at most."""
    levels: int = store.query(query, (object_id, DEEPEST))[0]["levels"]
    return levels


WORKAROUND = Workaround(
    name="object-trees",
    purpose=Purpose.SAFETY,
    effect="A client that registers an object that others will send, such as a frozen layer, with a child "
    "that never comes holds up every reply with that layer, and each SuperNode that is sent it for two "
    "hours. One that nests its objects deeply ends the run.",
    cause="an object keeps the children that the first sender of its id has named: "
    "sqlite_object_store.py:98; trees are followed without a limit: sqlite_object_store.py:137",
    programs=frozenset({Program.SUPERLINK}),
    sources={
        "flwr.supercore.object_store.sqlite_object_store": {
            "SqliteObjectStore.put": "fec128ecfc6f",
            "SqliteObjectStore.preregister": "a9d5168debb8",
            "SqliteObjectStore.get_object_tree": "37a13858a0db",
            "SqliteObjectStore.delete": "e27309f36184",
            "SQL_CREATE_OBJECTS": "bb06f4d488cf",
            "SQL_CREATE_OBJECT_CHILDREN": "097edb20b7a5",
        },
        "flwr.supercore.object_store": {
            "NoObjectInStoreError": "dd414d00e383",
        },
        "flwr.common.inflatable": {
            "get_object_children_ids_from_object_content": "de77457a9d36",
            "get_object_id": "1c9d6716beb1",
            "iterate_object_tree": "34c0fe845619",
        },
        "flwr.supercore.sqlite_mixin": {
            "SqliteMixin.query": "808d35b32d46",
            "SqliteMixin.conn": "a0d0cd91d27c",
        },
        "flwr.proto.message_pb2": {
            "ObjectTree": "7ec5ec452c01",
        },
        "flwr.server.superlink.serverappio.serverappio_servicer": {
            "ServerAppIoServicer.PullMessages": "f76350f4a883",
            "ServerAppIoServicer.PushMessages": "04744d35f4f3",
        },
        "flwr.server.superlink.fleet.message_handler.message_handler": {
            "push_object": "babebbfa1e6f",
        },
    },
    apply=believe_contents,
    after=("object-store-race",),
)
