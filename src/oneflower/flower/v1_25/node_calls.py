"""Stand before the calls of nodes at the Fleet API, whose signature is right."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import grpc
from flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor import NodeAuthServerInterceptor

from oneflower.flower.private import PrivateUse

if TYPE_CHECKING:  # the workarounds import this module
    from oneflower.flower.v1_25.workarounds.registry import Patch


@dataclass(frozen=True, slots=True)
class NodeCall:
    """One method of the Fleet API, called with a key.

    Parameters
    ----------
    key : bytes
        The public key, as PEM, that signed the call.
    answer : callable
        What answers a request in its context, from Flower or from whoever stands behind.
    states : object
        Flower's LinkStateFactory.
    """

    key: bytes
    answer: Callable[[Any, Any], Any]
    states: Any


Before = Callable[[NodeCall, Any, Any], Any]
"""Gets a call, its request and its context; returns the response."""


def stand_before(patch: "Patch", before: Before) -> None:
    """Let a function answer every call of a node in place of Flower's method, which it may call."""
    wrap = NodeAuthServerInterceptor._wrap_method_handler  # noqa: SLF001 - every call of a node passes here

    @wraps(wrap)
    def wrapped(self: Any, method_handler: Any, expected_public_key: bytes) -> Any:
        call = NodeCall(expected_public_key, method_handler.unary_unary, self.state_factory)

        def handle(request: Any, context: Any) -> Any:
            return before(call, request, context)

        handler = grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=method_handler.request_deserializer,
            response_serializer=method_handler.response_serializer,
        )
        return wrap(self, handler, expected_public_key)

    patch(NodeAuthServerInterceptor, "_wrap_method_handler", wrapped)


USE = PrivateUse(
    name="calls of nodes",
    why="Membership and the takeover of a key look at every call of a node after its signature was verified.",
    sources={
        "flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor": {
            "NodeAuthServerInterceptor._wrap_method_handler": "e9f69f62f2b4",
            "NodeAuthServerInterceptor.__init__": "206dcca1afaa",
        },
    },
)
