"""A call of a node whose question for work may wait: it keeps no thread, and is answered from another one."""

import logging
from collections.abc import Callable
from typing import Any, Final

import grpc
from flwr.proto.fleet_pb2 import PullMessagesResponse

from oneflower.flower.private import PrivateUse
from oneflower.flower.v1_25.questions import QUESTIONS, HeldError, Why

log = logging.getLogger(__name__)

FAILED: Final = grpc.StatusCode["UNKNOWN"]
BUSY: Final = grpc.StatusCode["UNAVAILABLE"]
"""A SuperNode tries again."""


class _AbortedError(Exception):
    """The call is refused; its status is set."""


class _LaterContext:
    """The context of a call that is answered from another thread than gRPC's: it ends by its status."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        """Set the status with which the call ends, and raise."""
        self._context.set_code(code)
        self._context.set_details(details)
        raise _AbortedError


class Held:
    """One question for work.

    Parameters
    ----------
    answer : callable
        Returns the response in a context; raises HeldError where there is no work.
    context : object
        gRPC's context of the call.
    send : callable
        Sends a response, and with None ends the call; it waits until the caller takes it.
    sending : callable
        Called before a response is sent.
    """

    def __init__(
        self,
        answer: Callable[[Any], Any],
        context: Any,
        send: Callable[[Any], None],
        sending: Callable[[], object] = lambda: None,
    ) -> None:
        self._answer, self._context, self._send, self._sending = answer, context, send, sending
        self._ends = QUESTIONS.ends()

    def ask(self) -> None:
        """Answer at once where there is work, else let the question wait. To be called in gRPC's thread."""
        with QUESTIONS.patient() as since:
            try:
                response = self._answer(self._context)
            except HeldError as held:
                self._wait(held.node_id, since)
                return
        self._end(response)

    def _wait(self, node_id: int, since: int) -> None:
        forget = QUESTIONS.hold(node_id, since=since, ends=self._ends, resume=self._resume)
        if not self._context.add_callback(forget):
            forget()  # the caller is gone already

    def _resume(self, why: Why) -> None:
        if not self._context.is_active():
            return
        try:
            if why is Why.REPLACED:
                # Without a response nobody waits until it is taken: a node may leave all but one.
                self._context.set_code(BUSY)
                self._context.set_details("this SuperNode has asked again")
                self._send(None)
                return
            if why is Why.ENDED:
                self._end(PullMessagesResponse())
                return
            with QUESTIONS.patient() as since:
                try:
                    response = self._answer(_LaterContext(self._context))
                except HeldError as held:
                    self._wait(held.node_id, since)
                    return
            self._end(response)
        except _AbortedError:
            self._send(None)
        except Exception:  # as gRPC does: one call fails, no thread ends
            log.exception("a question for work failed")
            self._context.set_code(FAILED)
            self._send(None)

    def _end(self, response: Any) -> None:
        self._sending()
        self._send(response)
        self._send(None)


USE = PrivateUse(
    name="held questions",
    why="A question whose time is up is answered with no message.",
    sources={
        "flwr.proto.fleet_pb2": {
            "PullMessagesResponse": "fa1801a96f72",
        },
    },
)
