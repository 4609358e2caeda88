"""Flower's Control API with typed results: submit a run, see how it is, read its log, stop it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from zipfile import BadZipFile

from oneflower.errors import AppError, ClusterError
from oneflower.flower import bundles
from oneflower.flower.api import grpc
from oneflower.flower.door import control_api
from oneflower.flower.fab import digest
from oneflower.flower.run_state import NodeState, RunState
from oneflower.flower.sockets import UNIX
from oneflower.proxies import is_loopback, proxy_variable
from oneflower.tls import peer_problems

__all__ = ["ControlClient", "ControlError", "NodeState", "RunState"]

CALL_TIMEOUT_S = 20.0

# What a status code of gRPC means to the operator of a SuperLink.
MEANINGS = {
    grpc.StatusCode.UNAVAILABLE: "nothing answers there (is the SuperLink running, and does TLS match?)",
    grpc.StatusCode.DEADLINE_EXCEEDED: "no answer in time",
    grpc.StatusCode.NOT_FOUND: "the SuperLink knows none of that id",
    grpc.StatusCode.UNAUTHENTICATED: "it asks for a token: set FL_CONTROL_TOKEN to that of the SuperLink",
}


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
        ``host:port`` of the Control API, or its Unix socket (`sockets.socket_of`).
    root_certificates : bytes | None
        The CA in PEM form when the SuperLink speaks TLS; None for a connection without TLS. Not used for a
        socket, whose folder lets nobody else in.
    token : str
        FL_CONTROL_TOKEN, for a Control API beyond loopback. It is not sent without TLS.
    """

    def __init__(self, address: str, root_certificates: bytes | None = None, *, token: str = "") -> None:
        self.address = address
        if address.startswith(UNIX):
            root_certificates = None
        options = [
            *control_api.CHANNEL_OPTIONS,
            # The default backoff grows to two minutes: far too long beside a SuperLink that restarts.
            ("grpc.max_reconnect_backoff_ms", 1000),
            # A channel of an earlier boot must not lend its dead connection to this one.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        host = "localhost" if address.startswith(UNIX) else address.rpartition(":")[0]
        self._proxy = proxy_variable(host, os.environ)
        if is_loopback(host):
            options.append(("grpc.enable_http_proxy", 0))
        self._is_secure = root_certificates is not None
        if root_certificates is None:
            self._channel = grpc.insecure_channel(address, options=options)
        else:
            credentials = grpc.ssl_channel_credentials(root_certificates)
            self._channel = grpc.secure_channel(address, credentials, options=options)
        self._calls = control_api.ControlCalls(
            self._channel, timeout_s=CALL_TIMEOUT_S, token=token if self._is_secure else ""
        )

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
        declared = _declared(fab, run_config)
        with self._errors("submit a run"):
            run_id = self._calls.start_run(fab, digest(fab), declared)
        if run_id is None:
            raise ClusterError(
                f"the SuperLink at {self.address} refused the app without a reason: it takes apps of "
                f"10 MB at most, and this one packs to {len(fab)} bytes. Leave data out of the app's folder."
            )
        return run_id

    def runs(self) -> list[RunState]:
        """List all runs that the SuperLink knows, oldest id first."""
        with self._errors("list the runs"):
            return self._calls.runs()

    def status(self, run_id: int) -> RunState:
        """Return the state of one run; ClusterError when the SuperLink does not know it."""
        with self._errors(f"ask about run {run_id}"):
            return self._calls.run(run_id)

    def nodes(self) -> list[NodeState]:
        """List the SuperNodes that have registered and not left."""
        with self._errors("list the SuperNodes"):
            return self._calls.nodes()

    def unregister(self, node_id: int) -> None:
        """Take a SuperNode that is known to be dead off the list.

        Flower counts it as online until its lease ends (60 s), and a round waits for it that long; once it is
        off the list, the SuperLink answers for it with an error at once.
        """
        with self._errors(f"unregister SuperNode {node_id}"):
            self._calls.unregister_node(node_id)

    def logs(self, run_id: int, *, timeout_s: float | None = None) -> Iterator[str]:
        """Yield the ServerApp's log as it comes, until the run is finished or the time is over."""
        with self._errors(f"read the log of run {run_id}"):
            try:
                yield from self._calls.logs(run_id, timeout_s=timeout_s)
            except grpc.RpcError as error:
                if timeout_s is None or error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise

    def stop(self, run_id: int) -> bool:
        """Stop a run; False when it had finished already.

        ClientApps that are at work finish their message: Flower 1.25.0 does not stop them.
        """
        with self._errors(f"stop run {run_id}"):
            try:
                return self._calls.stop_run(run_id)
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


def _declared(
    fab: bytes, run_config: Mapping[str, bool | int | float | str]
) -> dict[str, bool | int | float | str]:
    """Refuse keys that the app does not declare: Flower takes them now and fails the run later."""
    try:
        declared = bundles.declared_config(fab)
    except (BadZipFile, KeyError, ValueError) as error:
        raise AppError(
            f"the app to submit is not a Flower App Bundle (FAB): {error}. Build it with build_fab"
        ) from error
    unknown = sorted(set(run_config) - set(declared))
    if unknown:
        raise AppError(
            f"the app does not declare the run-config keys {', '.join(unknown)}: add them under "
            "[tool.flwr.app.config] in its pyproject.toml"
        )
    return dict(run_config)
