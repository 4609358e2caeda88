"""A signature is made once in ten seconds, and verified once, instead of with each call.

A call is signed as "this key, at this time", and accepted for minutes: who has seen one may use it so long in
any case. Signing and verifying take 0.5 ms each, the largest part of what a short call costs.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache, wraps
from typing import Any, Final

from flwr.client.grpc_rere_client import node_auth_client_interceptor as signing
from flwr.server.superlink.fleet.grpc_rere import node_auth_server_interceptor as verifying

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround
from oneflower.newest import Newest

KEPT_S: Final = 10.0
KEYS: Final = 16_384
"""More than the SuperNodes that may register."""


class Signed:
    """The time and the signature of the newest call, for those of the next seconds."""

    def __init__(self, now: Callable[[], datetime], clock: Callable[[], float] = time.monotonic) -> None:
        self._now, self._clock = now, clock
        self._lock = threading.Lock()
        self._time: datetime | None = None
        self._until = 0.0
        self._signature: tuple[Any, bytes, bytes] | None = None

    def time(self) -> datetime:
        """Return the time that is signed."""
        with self._lock:
            if self._time is None or self._clock() >= self._until:
                self._time, self._until = self._now(), self._clock() + KEPT_S
            return self._time

    def sign(self, sign: Callable[[Any, bytes], bytes], key: Any, message: bytes) -> bytes:
        """Return the signature of a message, the same one as long as it is the same message."""
        with self._lock:
            if self._signature is None or self._signature[:2] != (key, message):
                self._signature = key, message, sign(key, message)
            return self._signature[2]


def sign_once(patch: Patch) -> None:
    """Sign the calls of ten seconds alike."""
    signed, sign = Signed(signing.now), signing.sign_message  # type: ignore[attr-defined]

    @wraps(sign)
    def sign_message(private_key: Any, message: bytes) -> bytes:
        return signed.sign(sign, private_key, message)

    patch(signing, "now", signed.time)
    patch(signing, "sign_message", sign_message)


def verify_once(patch: Patch) -> None:
    """Remember of each key the newest signature that was right, and what it is as numbers."""
    verify = verifying.verify_signature  # type: ignore[attr-defined]
    right: Newest[int, tuple[Any, bytes, bytes]] = Newest(KEYS)

    @wraps(verify)
    def verify_signature(public_key: Any, message: bytes, signature: bytes) -> bool:
        known = right.get(id(public_key))
        if known is not None and known[0] is public_key and known[1:] == (message, signature):
            return True
        if not verify(public_key, message, signature):
            return False
        right[id(public_key)] = public_key, message, signature
        return True

    patch(verifying, "bytes_to_public_key", lru_cache(KEYS)(verifying.bytes_to_public_key))  # type: ignore[attr-defined]
    patch(verifying, "verify_signature", verify_signature)


SUPERNODE = Workaround(
    name="kept-signature",
    purpose=Purpose.SPEED,
    effect="Each call is signed by itself, which takes 0.5 ms of a processor.",
    cause="a time and a signature for each call: node_auth_client_interceptor.py:58",
    programs=frozenset({Program.SUPERNODE}),
    after=("steady-clock",),
    sources={
        "flwr.client.grpc_rere_client.node_auth_client_interceptor": {
            "NodeAuthClientInterceptor.intercept_unary_unary": "88f582715ad4",
            "now": "ee9505ca3b5a",
            "sign_message": "fb901e930e81",
        },
    },
    apply=sign_once,
)

SUPERLINK = Workaround(
    name="verified-once",
    purpose=Purpose.SPEED,
    effect="A signature that came with an earlier call is verified again: half of what the SuperLink works "
    "on for a short call, in the one thread that takes calls.",
    cause="each call is verified: node_auth_server_interceptor.py:92",
    programs=frozenset({Program.SUPERLINK}),
    sources={
        "flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor": {
            "NodeAuthServerInterceptor.intercept_service": "8de7e5c59628",
            "bytes_to_public_key": "0d8125fe6364",
            "verify_signature": "519417ca7000",
        },
    },
    apply=verify_once,
)
