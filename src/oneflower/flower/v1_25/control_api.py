"""The calls of the Control API, with oneflower's values in place of protocol messages."""

from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from flwr.common.constant import ACCESS_TOKEN_KEY, RUN_FAILURE_DETAILS_NO_HEARTBEAT
from flwr.common.grpc import GRPC_MAX_MESSAGE_LENGTH
from flwr.common.serde import fab_to_proto, user_config_from_proto, user_config_to_proto
from flwr.common.typing import Fab
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    StartRunRequest,
    StopRunRequest,
    StreamLogsRequest,
    UnregisterNodeRequest,
)
from flwr.proto.control_pb2_grpc import ControlStub
from flwr.proto.run_pb2 import Run
from flwr.supercore.constant import NOOP_FEDERATION

from oneflower.flower.private import PrivateUse
from oneflower.flower.run_state import NodeState, RunState

CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", GRPC_MAX_MESSAGE_LENGTH),
    ("grpc.max_receive_message_length", GRPC_MAX_MESSAGE_LENGTH),
)
"""The longest message that a SuperLink sends and takes."""


class ControlCalls:
    """One method a call; each raises grpc.RpcError where the call fails, after `timeout_s` at the latest."""

    def __init__(self, channel: grpc.Channel, *, timeout_s: float, token: str = "") -> None:
        self._stub = ControlStub(channel)
        # Where `flwr` puts the token of an account, so that it can present one, too.
        metadata = ((ACCESS_TOKEN_KEY, token),) if token else ()
        self._how: Mapping[str, Any] = {"timeout": timeout_s, "metadata": metadata}

    def start_run(
        self, fab: bytes, fab_hash: str, run_config: Mapping[str, bool | int | float | str]
    ) -> int | None:
        """Submit an app; return the id of its run, None where the SuperLink refuses without a reason."""
        request = StartRunRequest(
            fab=fab_to_proto(Fab(fab_hash, fab, {})),
            override_config=user_config_to_proto(dict(run_config)),
            federation=NOOP_FEDERATION,
        )
        response = self._stub.StartRun(request, **self._how)
        return int(response.run_id) if response.HasField("run_id") else None

    def runs(self) -> list[RunState]:
        """Return all runs, oldest id first."""
        response = self._stub.ListRuns(ListRunsRequest(), **self._how)
        return [_run_state(response.run_dict[run_id]) for run_id in sorted(response.run_dict)]

    def run(self, run_id: int) -> RunState:
        """Return one run."""
        response = self._stub.ListRuns(ListRunsRequest(run_id=run_id), **self._how)
        return _run_state(response.run_dict[run_id])

    def nodes(self) -> list[NodeState]:
        """Return the SuperNodes that have registered and not left."""
        response = self._stub.ListNodes(ListNodesRequest(), **self._how)
        return [
            NodeState(node_id=node.node_id, online=node.status == "online") for node in response.nodes_info
        ]

    def unregister_node(self, node_id: int) -> None:
        """Take a SuperNode off the list."""
        self._stub.UnregisterNode(UnregisterNodeRequest(node_id=node_id), **self._how)

    def logs(self, run_id: int, *, timeout_s: float | None) -> Iterator[str]:
        """Yield the ServerApp's log as it comes."""
        for part in self._stub.StreamLogs(
            StreamLogsRequest(run_id=run_id), **{**self._how, "timeout": timeout_s}
        ):
            yield part.log_output

    def stop_run(self, run_id: int) -> bool:
        """Stop a run; return whether the SuperLink did so."""
        return bool(self._stub.StopRun(StopRunRequest(run_id=run_id), **self._how).success)


def _run_state(run: Run) -> RunState:
    return RunState(
        run_id=run.run_id,
        status=run.status.status,
        outcome=run.status.sub_status,
        details=run.status.details,
        app=run.fab_id,
        lost=run.status.sub_status == "failed" and run.status.details == RUN_FAILURE_DETAILS_NO_HEARTBEAT,
        bundle=run.fab_hash,
        override=user_config_from_proto(run.override_config),
        submitted_at=run.pending_at,
    )


USE = PrivateUse(
    name="control-api",
    why="Submit a run, list runs and SuperNodes, read a log, stop a run. Flower's command line does the "
    "same, but prints for people, wants a project folder, and has no exit code for a SuperLink that is "
    "away.",
    sources={
        "flwr.common.constant": {
            "ACCESS_TOKEN_KEY": "106a643059a2",
            "RUN_FAILURE_DETAILS_NO_HEARTBEAT": "537bb70e41c9",
        },
        "flwr.common.grpc": {"GRPC_MAX_MESSAGE_LENGTH": "972dcafa6fb4"},
        "flwr.common.serde": {
            "fab_to_proto": "8b6275d1c239",
            "user_config_from_proto": "4004e3c4a598",
            "user_config_to_proto": "59788b53270c",
        },
        "flwr.common.typing": {"Fab": "140aff940cdb"},
        "flwr.proto.control_pb2": {
            "ListNodesRequest": "e3b0c44298fc",
            "ListNodesResponse": "4db1bdd8f550",
            "ListRunsRequest": "5c3dcec72dc8",
            "ListRunsResponse": "8452faab88de",
            "StartRunRequest": "15fe1d39a1c0",
            "StartRunResponse": "5c3dcec72dc8",
            "StopRunRequest": "5c3dcec72dc8",
            "StopRunResponse": "3c2bd97ec4ea",
            "StreamLogsRequest": "b165d5f4a720",
            "StreamLogsResponse": "77f055ee477c",
            "UnregisterNodeRequest": "8bd3e02a281e",
        },
        "flwr.proto.control_pb2_grpc": {"ControlStub.__init__": "d443d486b1be"},
        "flwr.proto.node_pb2": {"NodeInfo": "132bb10d9843"},
        "flwr.proto.run_pb2": {"Run": "2814877913b6", "RunStatus": "e45c59fa2052"},
        "flwr.supercore.constant": {"NOOP_FEDERATION": "37a8eec1ce19"},
    },
)
