"""Bound what readers may cost: connections, the time of a request, and the descriptors of `oneflower up`."""

import asyncio
import resource
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Far below the usual limit of 1024 open files, which `oneflower up` shares with its page.
MOST_CONNECTIONS: Final = 256
SHARE_OF_FILES: Final = 4
# A new connection is accepted before it is counted: so many at a time, instead of uvicorn's 2048.
BACKLOG: Final = 64
# The request itself; nothing that the page takes is longer than a token.
REQUEST_S: Final = 10.0
PEER: Final = "peer"
"""The key of a request's state that holds the address at the other end, whatever its headers say."""


def most_connections() -> int:
    """Return how many connections are held at a time, with files left for the training beside the page."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, soft // SHARE_OF_FILES)
    )


class Connections:
    """The open connections of a server; those without a request make room for new ones."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: dict[Bounded, bool] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, new: "Bounded") -> bool:
        """Take a connection in, ending the oldest one that asks for nothing; False where all are at work."""
        if len(self._open) >= self.most:
            idle = next((held for held, waits in self._open.items() if waits), None)
            if idle is None:
                return False
            self.remove(idle)
            idle.end()
        self._open[new] = True
        return True

    def remove(self, gone: "Bounded") -> None:
        """Forget a connection."""
        self._open.pop(gone, None)

    def waits(self, held: "Bounded", *, for_request: bool) -> None:
        """Note whether a connection has a request to be answered."""
        if held in self._open:
            self._open[held] = for_request


class Bounded(H11Protocol):
    """One connection: dropped where there are too many, and where its request takes too long."""

    def __init__(self, connections: Connections, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._all = connections
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or drop it."""
        super().connection_made(transport)
        if not self._all.add(self):
            self.end()
            return
        self.app_state = {**self.app_state, PEER: self.client[0] if self.client else ""}
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._all.remove(self)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request on the same connection."""
        super().on_response_complete()
        self._look()

    def end(self) -> None:
        """Close at once, whatever was to be sent or read."""
        self._stop_timer()
        if self.transport is not None:
            self.transport.abort()

    def _look(self) -> None:
        """Give a request that is not complete a limited time; one that is complete, as long as it takes."""
        is_read = self.conn.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
        self._all.waits(self, for_request=not is_read)
        if is_read:
            self._stop_timer()
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(REQUEST_S, self.end)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded(most: int) -> Callable[..., Bounded]:
    """Return what makes the protocol of each connection of one server."""
    return partial(Bounded, Connections(most))
