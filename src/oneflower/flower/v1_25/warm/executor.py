"""Ask the SuperNode for messages, have them run in a warm process, and send the replies.

The steps and their order are those of Flower's superexec and flwr-clientapp: run_superexec.py,
run_clientapp.py.
"""

import os
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress
from logging import ERROR, WARNING
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from flwr.app import Error
from flwr.common import log
from flwr.common.constant import ErrorCode
from flwr.common.grpc import create_channel
from flwr.common.inflatable_utils import ObjectIdNotPreregisteredError
from flwr.common.retry_invoker import _make_simple_grpc_retry_invoker, _wrap_stub
from flwr.common.serde import fab_from_proto, run_from_proto
from flwr.common.typing import Fab
from flwr.proto.appio_pb2 import PullAppInputsRequest, PullAppInputsResponse
from flwr.proto.clientappio_pb2_grpc import ClientAppIoStub
from flwr.proto.heartbeat_pb2 import SendAppHeartbeatRequest
from flwr.supercore.heartbeat import HeartbeatSender

from oneflower.flower.programs import TOKEN_VARIABLE
from oneflower.flower.v1_25.pace import Pace
from oneflower.flower.v1_25.warm.calls import Exchange, take_next
from oneflower.flower.v1_25.warm.nursery import ChildEndedError, Nursery, Zygote

if TYPE_CHECKING:
    from collections.abc import Iterator

ASK_EVERY_S = 1.0
"""Flower's own pause: run_superexec.py:150. Shorter while there is work, and held at a SuperNode of ours."""
ASK_AGAIN_S = 0.1
SPARE_S = 1.0
"""A message is given up this long before it expires, or its error reply would have expired too."""
FIRST_BEAT_S = 1.0
"""A token is alive for 30 s; most messages are answered before its first heartbeat."""


class Executor:
    """Runs the messages of one SuperNode, one after the other as the SuperNode hands them out.

    Parameters
    ----------
    address : str
        The SuperNode's ClientAppIo API.
    flwr_dir : Path
        Where apps are installed.
    """

    def __init__(self, address: str, flwr_dir: Path) -> None:
        self._address = address
        self._flwr_dir = flwr_dir
        self._channel = create_channel(server_address=address, insecure=True, root_certificates=None)
        self._stub = ClientAppIoStub(self._channel)
        _wrap_stub(self._stub, _make_simple_grpc_retry_invoker())
        self._nursery = Nursery(flwr_dir)
        self._cold: list[subprocess.Popen[bytes]] = []

    def serve(self) -> None:
        """Run whatever comes; does not come back."""
        pace = Pace(idle_s=ASK_EVERY_S, shortest_s=ASK_AGAIN_S)
        with closing(self._channel):
            while True:
                if self.run_next():
                    pace.worked()
                else:
                    pace.sleep(ASK_EVERY_S)

    def run_next(self) -> bool:
        """Run one message if there is one; say whether there was."""
        self._nursery.look_after()
        self._cold = [process for process in self._cold if process.poll() is None]
        taken = take_next(self._stub)
        if taken is None:
            return False
        token, inputs = taken
        if token:
            try:
                self._run(token, inputs)
            # The SuperNode answers for the message when its token expires, or has forgotten it already.
            except (grpc.RpcError, ObjectIdNotPreregisteredError) as error:
                log(ERROR, "message given up, the SuperNode refused a call: %r", error)
        return bool(token)

    def _run(self, token: str, inputs: PullAppInputsResponse | None) -> None:
        if inputs is None:
            inputs = self._stub.PullClientAppInputs(PullAppInputsRequest(token=token))
        run, fab = run_from_proto(inputs.run), fab_from_proto(inputs.fab)
        with self._heartbeat(token) as lost:
            crash, refusal, zygote = "", None, None
            try:
                zygote, refusal = self._nursery.zygote_for(run, fab)
            except ChildEndedError as error:
                crash = str(error)
                self._nursery.forget()
            if zygote is not None and zygote.unforkable:
                self._run_cold(token, fab, zygote.unforkable)
                return
            exchange = Exchange(stub=self._stub, token=token, context=inputs.context)
            with exchange.message() as (message, outputs):
                if refusal is not None:
                    exchange.fail(outputs, Error(*refusal), message)
                elif crash or zygote is None:
                    exchange.fail(outputs, _crashed(crash), message)
                else:
                    self._run_warm(exchange, zygote, message, outputs, lost)

    def _run_warm(self, exchange: Exchange, zygote: Zygote, message: Any, outputs: int, lost: Any) -> None:
        metadata = message.metadata
        deadline_s = max(0.0, metadata.ttl - SPARE_S)
        try:
            zygote.run(metadata.message_id, exchange.inputs, outputs, deadline_s=deadline_s, lost=lost.is_set)
        except ChildEndedError as error:
            log(ERROR, "ClientApp stopped responding: %s message=%s", error, metadata.message_id)
            os.ftruncate(outputs, 0)
            exchange.fail(outputs, _crashed(str(error)), message)
        else:
            exchange.send(outputs)

    def _run_cold(self, token: str, fab: Fab, reason: str) -> None:
        """Start Flower's own process for an app that cannot be forked; it does the rest."""
        self._beat(token)  # the new process is given a minute to send the next
        log(WARNING, "app runs in a new process each time fab=%s reason=%s", fab.hash_str[:8], reason)
        command = [sys.executable, "-P", "-m", "oneflower.flower.launch", "clientapp", "--insecure"]
        command += ["--clientappio-api-address", self._address]
        command += ["--parent-pid", str(os.getpid()), "--flwr-dir", str(self._flwr_dir)]
        self._cold.append(subprocess.Popen(command, env={**os.environ, TOKEN_VARIABLE: token}))

    @contextmanager
    def _heartbeat(self, token: str) -> "Iterator[threading.Event]":
        """Keep the token alive meanwhile; the event is set when the SuperNode no longer knows it."""
        lost, ended, pauses = threading.Event(), threading.Event(), iter([FIRST_BEAT_S])

        def beat() -> bool:
            if ended.wait(next(pauses, 0.0)):
                return True
            known = self._beat(token)
            if known is False:
                lost.set()
            return known is not None  # else it is sent again, with growing pauses

        sender = HeartbeatSender(beat)
        sender.start()
        try:
            yield lost
        finally:
            ended.set()
            sender.stop()

    def _beat(self, token: str) -> bool | None:
        """Send one heartbeat; return whether the token is known, None where nobody answers."""
        stub = ClientAppIoStub(self._channel)
        with suppress(grpc.RpcError):
            return bool(stub.SendAppHeartbeat(SendAppHeartbeatRequest(token=token), timeout=5).success)
        return None


def _crashed(how: str) -> Error:
    """Return the error that Flower replies with for a ClientApp that died, and how it did."""
    return Error(ErrorCode.CLIENT_APP_CRASHED, f"ClientApp stopped responding: {how}.")
