"""Flower's pauses draw from a generator of their own: those that an app draws from are the app's.

Retries, heartbeats and waits for objects draw from Python's global generator, at times that differ from run
to run; an app that samples its clients with `random.sample` then samples others.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from flwr.common import inflatable_utils, retry_invoker
from flwr.supercore import heartbeat

from oneflower.flower.private import PrivateUse

_MODULES = (inflatable_utils, retry_invoker, heartbeat)


@contextmanager
def apart() -> Iterator[None]:
    """Let Flower draw from a generator of its own, for a block."""
    before = [module.random for module in _MODULES]
    own = random.Random()  # noqa: S311 - the length of pauses
    for module in _MODULES:
        module.random = own  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, kept in zip(_MODULES, before, strict=True):
            module.random = kept  # type: ignore[attr-defined]


USE = PrivateUse(
    name="own-generators",
    why="Replace the generator from which Flower draws the lengths of pauses: it is Python's global one, "
    "from which an app samples its clients.",
    sources={
        "flwr.common.inflatable_utils": {"random": "8a38c9d31159"},
        "flwr.common.retry_invoker": {"random": "0c1ce5ae7f1d"},
        "flwr.supercore.heartbeat": {"random": "5ed7c09ddfae"},
    },
)
