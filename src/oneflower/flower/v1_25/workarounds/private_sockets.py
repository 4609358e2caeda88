"""The Control API and the AppIo APIs listen on Unix sockets that only the cluster's user can reach.

Flower opens them on loopback ports, where every user of the machine may submit a run, take a message or read
a model. Beyond loopback the Control API has TLS and asks for FL_CONTROL_TOKEN.
"""

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import grpc
from flwr.common import grpc as flower_grpc
from flwr.common.constant import ACCESS_TOKEN_KEY
from flwr.server.superlink.serverappio import serverappio_grpc
from flwr.superlink.servicer.control import control_grpc
from flwr.supernode import start_client_internal

from oneflower.errors import SettingsError
from oneflower.flower.sockets import UNIX, folder_of, is_taken, socket_of
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround
from oneflower.settings import BY_NAME, Consumer, resolve_for
from oneflower.settings.formats import is_loopback

TOKEN = BY_NAME["FL_CONTROL_TOKEN"]
REFUSED = (
    "a token is needed: expected that of FL_CONTROL_TOKEN, as docs/deploy.md describes for `flwr run` from "
    "another machine"
)
# Flower's modules hold both under these names, as imports.
ASKED, CREATED = "is_port_in_use", "generic_create_grpc_server"
Create = Callable[..., Any]


class TokenGate(grpc.ServerInterceptor):  # type: ignore[misc] # grpc has no types
    """Answers every call without the token with UNAUTHENTICATED, before its request is read."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        # Flower reads a request in full before it calls a handler; a stream is read when it is asked for.
        self._refusal = grpc.stream_unary_rpc_method_handler(_refuse)

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Return the handler of a call, or the one that refuses it."""
        given = next((value for key, value in details.invocation_metadata if key == ACCESS_TOKEN_KEY), "")
        content = given if isinstance(given, bytes) else given.encode()
        return continuation(details) if hmac.compare_digest(content, self._token) else self._refusal


def _refuse(_requests: Any, context: Any) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, REFUSED)


@dataclass(frozen=True, slots=True)
class Both:
    """The servers of one API: on its socket, and on the network for those with the token."""

    servers: tuple[Any, ...]

    def start(self) -> None:
        """Start both."""
        for server in self.servers:
            server.start()

    def stop(self, grace: float | None) -> Any:
        """Stop both; return the event of the last one, as a server does."""
        return [server.stop(grace) for server in self.servers][-1]


def on_socket(create: Create) -> Create:
    """Let a server listen on the socket of its address only."""

    @wraps(create)
    def create_on_socket(*, server_address: str, **options: Any) -> Any:
        address = socket_of(folder_of(os.environ), server_address)
        # The socket's folder lets nobody else in: TLS would add nothing.
        return create(**{**options, "server_address": address, "certificates": None})

    return create_on_socket


def with_token(create: Create) -> Create:
    """Let the Control API listen on its socket, and beyond loopback for those with the token."""
    private = on_socket(create)

    @wraps(create)
    def create_control(
        *, server_address: str, certificates: Any = None, interceptors: Any = None, **options: Any
    ) -> Any:
        token = _take_token()
        own = private(server_address=server_address, interceptors=interceptors, **options)
        host = server_address.rpartition(":")[0].strip("[]")
        if is_loopback(host):
            return own
        if not token or certificates is None:
            raise SettingsError(f"the Control API at {server_address} needs TLS and {TOKEN.name}")
        gate = [TokenGate(token), *(interceptors or ())]
        public = create(
            server_address=server_address, certificates=certificates, interceptors=gate, **options
        )
        return Both((own, public))

    return create_control


def _take_token() -> str:
    """Return the token, and keep it from the programs that this process starts."""
    token = str(resolve_for(Consumer.SUPERLINK, os.environ).value_of(TOKEN))
    for name in (TOKEN.name, TOKEN.alias):
        os.environ.pop(name, None)
    return token


def _allow_sockets(patch: Patch) -> None:
    """Let Flower ask whether a socket is in use: it takes one that its user's process has left."""
    is_port_in_use = getattr(flower_grpc, ASKED)

    @wraps(is_port_in_use)
    def is_in_use(address: str) -> bool:
        return is_taken(address) if address.startswith(UNIX) else is_port_in_use(address)

    patch(flower_grpc, ASKED, is_in_use)


def close_superlink(patch: Patch) -> None:
    """Put the Control API and the ServerAppIo API of a SuperLink behind their sockets."""
    _allow_sockets(patch)
    patch(control_grpc, CREATED, with_token(getattr(control_grpc, CREATED)))
    patch(serverappio_grpc, CREATED, on_socket(getattr(serverappio_grpc, CREATED)))


def close_supernode(patch: Patch) -> None:
    """Put the ClientAppIo API of a SuperNode behind its socket."""
    _allow_sockets(patch)
    patch(start_client_internal, CREATED, on_socket(getattr(start_client_internal, CREATED)))


_SERVER = {
    "flwr.common.grpc": {"generic_create_grpc_server": "398720445baf", "is_port_in_use": "3fd96ac6a33a"},
}
SUPERLINK = Workaround(
    name="private-superlink",
    purpose=Purpose.SAFETY,
    effect="Every user of the SuperLink's machine can submit a run through the Control API, whose code then "
    "runs as the SuperLink's user and on every SuperNode, and can read settings, nodes and models through "
    "the ServerAppIo API. With it both listen on Unix sockets in a folder of the SuperLink's user.",
    cause="loopback ports without authentication: control_grpc.py:88, serverappio_grpc.py:50",
    programs=frozenset({Program.SUPERLINK}),
    sources={
        **_SERVER,
        "flwr.common.constant": {"ACCESS_TOKEN_KEY": "106a643059a2"},
        "flwr.superlink.servicer.control.control_grpc": {
            "run_control_api_grpc": "8ff03ca2f690",
            "generic_create_grpc_server": "b85831a021f5",
        },
        "flwr.server.superlink.serverappio.serverappio_grpc": {
            "run_serverappio_api_grpc": "0b3bf2abdda3",
            "generic_create_grpc_server": "e4d086d4c41c",
        },
    },
    apply=close_superlink,
)
SUPERNODE = Workaround(
    name="private-supernode",
    purpose=Purpose.SAFETY,
    effect="Every user of a SuperNode's machine can take its messages, and with them the model, and answer "
    "for it. With it the ClientAppIo API listens on a Unix socket in a folder of the SuperNode's user.",
    cause="a loopback port without authentication: start_client_internal.py:633",
    programs=frozenset({Program.SUPERNODE}),
    sources={
        **_SERVER,
        "flwr.supernode.start_client_internal": {
            "run_clientappio_api_grpc": "8c9739546ed7",
            "generic_create_grpc_server": "0d2516c2b1f4",
        },
    },
    apply=close_supernode,
)
