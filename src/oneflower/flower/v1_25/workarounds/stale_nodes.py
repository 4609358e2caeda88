"""A SuperNode that was registered before the SuperLink's restart is not sampled until it is heard.

The database says `online` of a node for up to 60 s after its last sign of life, also when that was before
the restart: a round would send work to nodes that are gone, and wait for their lease.
"""

from functools import wraps
from typing import Any

from flwr.server.superlink.fleet.grpc_rere.fleet_servicer import FleetServicer
from flwr.server.superlink.linkstate import SqliteLinkState

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Workaround


def apply(patch: Patch) -> None:
    """Hand out, of the nodes that are online, those that have been heard by this process."""
    heard: set[int] = set()
    get_nodes, pull_messages = SqliteLinkState.get_nodes, FleetServicer.PullMessages

    def noting(name: str) -> None:
        original = getattr(SqliteLinkState, name)

        @wraps(original)
        def note(self: Any, node_id: int, heartbeat_interval: float) -> Any:
            heard.add(node_id)
            return original(self, node_id, heartbeat_interval)

        patch(SqliteLinkState, name, note)

    @wraps(pull_messages)
    def note_pull(self: Any, request: Any, context: Any) -> Any:
        heard.add(request.node.node_id)
        return pull_messages(self, request, context)

    @wraps(get_nodes)
    def heard_nodes(self: Any, run_id: int) -> set[int]:
        return {node_id for node_id in get_nodes(self, run_id) if node_id in heard}

    noting("activate_node")
    noting("acknowledge_node_heartbeat")
    patch(FleetServicer, "PullMessages", note_pull)
    patch(SqliteLinkState, "get_nodes", heard_nodes)


WORKAROUND = Workaround(
    name="stale-nodes",
    defect="nodes of before a restart are sampled for up to 60 s, alive or not: sqlite_linkstate.py:759",
    programs=frozenset({Program.SUPERLINK}),
    sources={
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.get_nodes": "61df2d0d877a",
            "SqliteLinkState.activate_node": "cfe19cd6f3d8",
            "SqliteLinkState.acknowledge_node_heartbeat": "fbc7465fc5fe",
        },
        "flwr.server.superlink.fleet.grpc_rere.fleet_servicer": {
            "FleetServicer.PullMessages": "9a4dde1305ca",
        },
    },
    apply=apply,
)
