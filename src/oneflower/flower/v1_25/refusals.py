"""Refuse a request to the Fleet API: a status for the caller, and few lines in the log for many requests."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import grpc

log = logging.getLogger(__name__)

EVERY_S: Final = 10.0
REFUSED: Final = grpc.StatusCode["FAILED_PRECONDITION"]
MALFORMED: Final = grpc.StatusCode["INVALID_ARGUMENT"]


@dataclass(slots=True)
class Refusals:
    """Refusals by what was called: one line each ten seconds, which counts those since the last."""

    clock: Callable[[], float] = time.monotonic
    _next: dict[str, float] = field(default_factory=dict)
    _silent: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, call: str, node_id: int, reason: str) -> None:
        """Log a refused request, unless a line for the same call was written just now."""
        with self._lock:
            now = self.clock()
            if now < self._next.get(call, 0.0):
                self._silent[call] = self._silent.get(call, 0) + 1
                return
            self._next[call] = now + EVERY_S
            silent = self._silent.pop(call, 0)
        log.warning(
            "fleet request refused call=%s node=%d more_since_last_line=%d reason=%s",
            call,
            node_id,
            silent,
            reason,
        )

    def refuse(self, context: Any, status: grpc.StatusCode, call: str, node_id: int, reason: str) -> NoReturn:
        """Note a refused request and end it."""
        self.note(call, node_id, reason)
        context.abort(status, reason)
        raise RuntimeError(reason)  # a context always raises


def ending(end: Callable[[Any], object]) -> Any:
    """Return a handler that calls a function with the context of a call before its request is read.

    A handler for one request is called with it: gRPC has received it by then. One for a stream of requests
    is called before, and the caller sees no difference.
    """

    def answer(_requests: Any, context: Any) -> object:
        return end(context)

    return grpc.stream_unary_rpc_method_handler(answer)


def refusing(status: grpc.StatusCode, reason: str, refusals: Refusals, call: str) -> Any:
    """Return a handler that refuses a call before its request is read."""
    return ending(lambda context: refusals.refuse(context, status, call, 0, reason))
