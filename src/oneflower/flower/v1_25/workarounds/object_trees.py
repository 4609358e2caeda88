"""The tree of an object is what its content says, however a client has registered it.

Flower keeps as an object's children what the first who names it says they are. Identical objects of several
nodes are one, and their ids can be foretold: a client that registers the frozen layers of a model with a
child that never comes holds up the replies of all others, and the next model.
"""

import logging
from functools import wraps
from typing import Any, Final

from flwr.common.inflatable import get_object_children_ids_from_object_content
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.object_store import NoObjectInStoreError
from flwr.supercore.object_store.sqlite_object_store import SqliteObjectStore

from oneflower.flower.v1_25.workarounds.objects import CHANGING
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

log = logging.getLogger(__name__)

DEEPEST: Final = 8
"""A message has five levels."""
REPEATED, FREE = 4, 10_000
"""A shared object stands in a tree wherever it is shared; a tree may be this much larger than its objects."""
CHILDREN = "SELECT child_id FROM object_children WHERE parent_id = ?"
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


def believe_contents(patch: Patch) -> None:
    """Correct an object's children when its content comes, and bound what is made of a tree."""
    put, preregister = SqliteObjectStore.put, SqliteObjectStore.preregister

    @wraps(put)
    def put_and_correct(self: Any, object_id: str, object_content: bytes) -> None:
        put(self, object_id, object_content)  # it compares the content with the id
        true = set(get_object_children_ids_from_object_content(object_content))
        if true == _children(self, object_id):
            return
        with CHANGING:  # it may have been fetched by its last reader and deleted since
            registered = _children(self, object_id)
            if true != registered and self.query(KNOWN, (object_id,)):
                _correct(self, object_id, registered - true, true - registered)

    @wraps(preregister)
    def preregister_flat(self: Any, run_id: int, object_tree: Any) -> list[str]:
        wanted: list[str] = preregister(self, run_id, object_tree)
        if _levels(self, HEIGHT, object_tree.object_id) > DEEPEST:
            self.delete(object_tree.object_id)
            raise ValueError(f"objects nested more than {DEEPEST} deep")
        return wanted

    patch(SqliteObjectStore, "put", put_and_correct)
    patch(SqliteObjectStore, "preregister", preregister_flat)
    patch(SqliteObjectStore, "get_object_tree", wraps(SqliteObjectStore.get_object_tree)(bounded_tree))


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


def _correct(store: Any, object_id: str, wrong: set[str], missing: set[str]) -> None:
    """Make the registered children those of the content; an object whose children are not here is none."""
    log.warning("object was registered with other children than it has object=%s", object_id)
    above = _levels(store, DEPTH, object_id)
    heights = [_levels(store, HEIGHT, child) for child in missing if store.query(KNOWN, (child,))]
    fits = all(above + 1 + height <= DEEPEST for height in heights)
    with store.conn as connection:
        for child in wrong:
            connection.execute(REMOVE, (object_id, child))
            connection.execute(COUNT, (-1, child))
        if len(heights) < len(missing) or not fits:
            connection.execute(EMPTY, (b"", object_id))
        else:
            for child in missing:
                connection.execute(ADD, (object_id, child))
                connection.execute(COUNT, (1, child))
    if len(heights) < len(missing) or not fits:
        raise ValueError(f"object {object_id} has children that were not registered, or too deep ones")


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
    "that never comes holds up every reply and message with that layer. One that nests its objects deeply "
    "ends the run.",
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
        },
        "flwr.server.superlink.fleet.message_handler.message_handler": {
            "push_object": "babebbfa1e6f",
        },
    },
    apply=believe_contents,
    after=("object-store-race",),
)
