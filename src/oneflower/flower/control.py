"""Flower's Control API with typed results: submit a run, see how it is, read its log, stop it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from zipfile import BadZipFile

import grpc
from flwr.common.config import flatten_dict, get_fab_config
from flwr.common.constant import RUN_FAILURE_DETAILS_NO_HEARTBEAT
from flwr.common.grpc import GRPC_MAX_MESSAGE_LENGTH
from flwr.common.serde import fab_to_proto, user_config_to_proto
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

from oneflower.errors import AppError, ClusterError
from oneflower.flower.fab import digest
from oneflower.proxies import is_loopback, proxy_variable
from oneflower.tls import peer_problems

CALL_TIMEOUT_S = 20.0

# What a status code of gRPC means to the operator of a SuperLink.
MEANINGS = {
    grpc.StatusCode.UNAVAILABLE: "nothing answers there (is the SuperLink running, and does TLS match?)",
    grpc.StatusCode.DEADLINE_EXCEEDED: "no answer in time",
    grpc.StatusCode.NOT_FOUND: "the SuperLink knows none of that id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What the SuperLink says about a run.

    ``status`` is pending, starting, running or finished; ``outcome`` of a finished run is completed,
    failed or stopped, and empty before. ``details`` is the text of the exception that ended it, ``app`` the
    id of the app (``publisher/name``).
    """

    run_id: int
    status: str
    outcome: str = ""
    details: str = ""
    app: str = ""

    @property
    def finished(self) -> bool:
        """Whether the SuperLink has closed the run."""
        return self.status == "finished"

    @property
    def lost(self) -> bool:
        """Whether the ServerApp vanished, where `failed` alone may be its own exception."""
        return self.outcome == "failed" and self.details == RUN_FAILURE_DETAILS_NO_HEARTBEAT


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """A SuperNode that the SuperLink knows; a killed one stays online until its lease ends (60 s)."""

    node_id: int
    online: bool


class ControlError(ClusterError):
    """The Control API did not answer, or answered with an error: then ``answered`` is true."""

    def __init__(self, text: str, *, answered: bool = False) -> None:
        super().__init__(text)
        self.answered = answered


# With these a call ends when nobody has answered it.
UNANSWERED = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
)


class ControlClient:
    """A connection to one SuperLink's Control API; every failure is a ClusterError that names it.

    Parameters
    ----------
    address : str
        ``host:port`` of the Control API.
    root_certificates : bytes | None
        The CA in PEM form when the SuperLink speaks TLS; None for a connection without TLS.
    """

    def __init__(self, address: str, root_certificates: bytes | None = None) -> None:
        self.address = address
        options = [
            ("grpc.max_send_message_length", GRPC_MAX_MESSAGE_LENGTH),
            ("grpc.max_receive_message_length", GRPC_MAX_MESSAGE_LENGTH),
            # The default backoff grows to two minutes: far too long beside a SuperLink that restarts.
            ("grpc.max_reconnect_backoff_ms", 1000),
            # A channel of an earlier boot must not lend its dead connection to this one.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        host = address.rpartition(":")[0]
        self._proxy = proxy_variable(host, os.environ)
        if is_loopback(host):
            options.append(("grpc.enable_http_proxy", 0))
        self._is_secure = root_certificates is not None
        if root_certificates is None:
            self._channel = grpc.insecure_channel(address, options=options)
        else:
            credentials = grpc.ssl_channel_credentials(root_certificates)
            self._channel = grpc.secure_channel(address, credentials, options=options)
        self._stub = ControlStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way end with an error."""
        self._channel.close()

    def submit(self, fab: bytes, run_config: Mapping[str, bool | int | float | str]) -> int:
        """Start a run of the app and return its id.

        Raises
        ------
        ClusterError
            Nothing answers, or the SuperLink refuses the app.
        AppError
            The app does not declare a key of the run's configuration.
        """
        request = StartRunRequest(
            fab=fab_to_proto(Fab(digest(fab), fab, {})),
            override_config=user_config_to_proto(_declared(fab, run_config)),
            federation=NOOP_FEDERATION,
        )
        with self._errors("submit a run"):
            response = self._stub.StartRun(request, timeout=CALL_TIMEOUT_S)
        if not response.HasField("run_id"):
            raise ClusterError(
                f"the SuperLink at {self.address} refused the app without a reason: it takes apps of "
                f"10 MB at most, and this one packs to {len(fab)} bytes. Leave data out of the app's folder."
            )
        return int(response.run_id)

    def runs(self) -> list[RunState]:
        """List all runs that the SuperLink knows, oldest id first."""
        with self._errors("list the runs"):
            response = self._stub.ListRuns(ListRunsRequest(), timeout=CALL_TIMEOUT_S)
        return [_run_state(response.run_dict[run_id]) for run_id in sorted(response.run_dict)]

    def status(self, run_id: int) -> RunState:
        """Say how one run is; ClusterError when the SuperLink does not know it."""
        with self._errors(f"ask about run {run_id}"):
            response = self._stub.ListRuns(ListRunsRequest(run_id=run_id), timeout=CALL_TIMEOUT_S)
        return _run_state(response.run_dict[run_id])

    def nodes(self) -> list[NodeState]:
        """List the SuperNodes that have registered and not left."""
        with self._errors("list the SuperNodes"):
            nodes = self._stub.ListNodes(ListNodesRequest(), timeout=CALL_TIMEOUT_S).nodes_info
        return [NodeState(node_id=node.node_id, online=node.status == "online") for node in nodes]

    def unregister(self, node_id: int) -> None:
        """Take a SuperNode that is known to be dead off the list.

        Flower holds it to be online until its lease ends (60 s), and a round waits for its answer so long;
        once it is off the list, the SuperLink answers for it with an error at once.
        """
        with self._errors(f"unregister SuperNode {node_id}"):
            self._stub.UnregisterNode(UnregisterNodeRequest(node_id=node_id), timeout=CALL_TIMEOUT_S)

    def logs(self, run_id: int, *, timeout_s: float | None = None) -> Iterator[str]:
        """Yield the ServerApp's log as it comes, until the run is finished or the time is over."""
        with self._errors(f"read the log of run {run_id}"):
            try:
                for part in self._stub.StreamLogs(StreamLogsRequest(run_id=run_id), timeout=timeout_s):
                    yield part.log_output
            except grpc.RpcError as error:
                if timeout_s is None or error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise

    def stop(self, run_id: int) -> bool:
        """Stop a run; False when it had finished already.

        ClientApps that are at work go on to the end of their message: Flower 1.25.0 does not stop them.
        """
        with self._errors(f"stop run {run_id}"):
            try:
                return bool(self._stub.StopRun(StopRunRequest(run_id=run_id), timeout=CALL_TIMEOUT_S).success)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                    return False
                raise

    @contextmanager
    def _errors(self, act: str) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            meaning = MEANINGS.get(error.code(), error.details() or str(error.code()))
            if self._proxy and error.code() in UNANSWERED:
                meaning += (
                    f". {self._proxy} sends this connection through a proxy: add the host to no_proxy to "
                    "reach it directly"
                )
            if self._is_secure and error.code() == grpc.StatusCode.UNAVAILABLE:
                meaning = "; ".join([meaning, *peer_problems(self.address, datetime.now(UTC))])
            raise ControlError(
                f"cannot {act} through the Control API at {self.address}: {meaning}",
                answered=error.code() not in UNANSWERED,
            ) from error


def _run_state(run: Run) -> RunState:
    status = run.status
    return RunState(
        run_id=run.run_id,
        status=status.status,
        outcome=status.sub_status,
        details=status.details,
        app=run.fab_id,
    )


def _declared(
    fab: bytes, run_config: Mapping[str, bool | int | float | str]
) -> dict[str, bool | int | float | str]:
    """Refuse keys that the app does not declare: Flower takes them now and fails the run later."""
    try:
        declared = flatten_dict(get_fab_config(fab)["tool"]["flwr"]["app"].get("config", {}))
    except (BadZipFile, KeyError, ValueError) as error:
        raise AppError(f"what was to be submitted is no FAB: {error}. Build it with build_fab") from error
    unknown = sorted(set(run_config) - set(declared))
    if unknown:
        raise AppError(
            f"the app does not declare the run-config keys {', '.join(unknown)}: add them under "
            "[tool.flwr.app.config] in its pyproject.toml"
        )
    return dict(run_config)
