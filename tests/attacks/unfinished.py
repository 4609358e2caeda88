"""Calls to a Fleet API that are begun and never finished, and connections from several addresses."""

import socket
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial

import grpc
from flwr.common.constant import PUBLIC_KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from flwr.common.date import now
from flwr.proto import fleet_pb2 as fleet
from flwr.supercore.primitives.asymmetric import sign_message

from .attacker import UNLIMITED

FLEET = "/flwr.proto.Fleet"
CALL_S = 240.0
# Channels with one address would share a connection.
OWN_CONNECTION = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]


def headers(attacker):
    """Return what signs a call, as Flower's interceptor does."""
    timestamp = now().isoformat()
    signature = sign_message(attacker.key, timestamp.encode("ascii"))
    return (
        (PUBLIC_KEY_HEADER, attacker.public),
        (TIMESTAMP_HEADER, timestamp),
        (SIGNATURE_HEADER, signature),
    )


def channels(address, credentials, number):
    """Open channels, each with a connection of its own."""
    make = partial(grpc.secure_channel, credentials=credentials) if credentials else grpc.insecure_channel
    return [make(address, options=OWN_CONNECTION) for _ in range(number)]


@contextmanager
def through(source, address):
    """Yield an address of this machine's whose connections go on to another, from the address `source`."""
    host, port = address.rsplit(":", 1)
    listening, opened = socket.create_server(("127.0.0.1", 0)), []

    def accept():
        with suppress(OSError):
            while True:
                here, _ = listening.accept()
                there = socket.create_connection((host, int(port)), source_address=(source, 0))
                opened.extend((here, there))
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        for each in (listening, *opened):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        thread.join(20)


def copy(one, other):
    """Send on what is received until either end is closed."""
    with suppress(OSError):
        while found := one.recv(65536):
            other.sendall(found)
        other.shutdown(socket.SHUT_RDWR)


class HalfSent:
    """Calls whose headers are sent and whose requests never are."""

    def __init__(self):
        self._end, self.calls = threading.Event(), []

    def begin(self, attacker, method, through_channels, number):
        """Begin calls of one attacker's, in turns over the channels."""
        for index in range(number):
            call = through_channels[index % len(through_channels)].stream_unary(f"{FLEET}/{method}")
            self.calls.append(call.future(self._never(), timeout=CALL_S, metadata=headers(attacker)))

    def _never(self):
        self._end.wait(CALL_S)
        yield from ()

    @property
    def open(self):
        return sum(not call.done() for call in self.calls)

    def end(self):
        self._end.set()
        for call in self.calls:
            call.cancel()


@contextmanager
def asking_at_once(attacker, through_channels, number):
    """Keep so many questions for work of one member open; what is answered is asked again."""
    request = fleet.PullMessagesRequest(node=attacker.node).SerializeToString()
    stop, asked = threading.Event(), []

    def ask(channel):
        call = channel.unary_unary(f"{FLEET}/PullMessages")
        return call.future(request, timeout=60.0, metadata=headers(attacker))

    def work():
        while not stop.is_set():
            still = [call for call in asked if not call.done()]
            free = range(number - len(still))
            asked[:] = still + [ask(through_channels[index % len(through_channels)]) for index in free]
            time.sleep(0.1)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        stop.set()
        thread.join(60)
        for call in asked:
            call.cancel()


@contextmanager
def idle_connections(address, number, *, sources, send=b""):
    """Hold TCP connections that send a few bytes, or none; yields those that were opened."""
    host, port = address.rsplit(":", 1)
    opened = []
    for index in range(number):
        with suppress(OSError):
            source = (sources[index % len(sources)], 0)
            made = socket.create_connection((host, int(port)), timeout=5.0, source_address=source)
            opened.append(made)
            made.sendall(send)
    try:
        yield opened
    finally:
        for made in opened:
            made.close()
