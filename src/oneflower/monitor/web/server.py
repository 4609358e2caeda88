"""Serve the page: in the foreground for `oneflower dashboard`, in a thread beside `oneflower up`."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn

from oneflower.errors import StateError
from oneflower.monitor.web.access import Token
from oneflower.monitor.web.app import make_app
from oneflower.monitor.web.connections import BACKLOG, bounded, most_connections
from oneflower.monitor.web.live import Live
from oneflower.monitor.web.log_lines import spare_log

# Readers hold their streams for ever; the server does not wait longer for them when it ends.
LAST_WORDS_S: Final = 2
START_TIMEOUT_S: Final = 10.0
LOOPBACK: Final = "127.0.0.1"
NO_TOKEN: Final = Token()


class PageServer(uvicorn.Server):
    """Ends the readers' streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, live: Live) -> None:
        super().__init__(config)
        self._live = live

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the streams to end, then end."""
        self._live.stop.set()
        await super().shutdown(sockets)


def listen(
    host: str, port: int, *, remedy: str = "choose another with --port, or 0 for any free one"
) -> socket.socket:
    """Take a port; 0 takes a free one. `remedy` is where the operator chooses one.

    Raises
    ------
    StateError
        The port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StateError(
            f"cannot listen on {host}:{port} ({error.strerror or error}): expected a free port of this "
            f"machine; {remedy}"
        ) from error
    return listener


def address(listener: socket.socket) -> str:
    """Return what to open in a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(listener: socket.socket, live: Live, token: Token) -> None:
    """Serve until SIGINT or SIGTERM."""
    with live, contextlib.suppress(KeyboardInterrupt):
        _server(live, token).run(sockets=[listener])


@contextmanager
def beside(
    journal: Path, folder: Path, port: int, *, host: str = LOOPBACK, token: Token = NO_TOKEN
) -> Iterator[str]:
    """Serve in a thread while the body runs; give what to open in a browser.

    Raises
    ------
    StateError
        The port is taken.
    """
    listener = listen(host, port, remedy="choose another in FL_DASHBOARD_ADDRESS")
    with Live(journal, folder=folder) as live:
        server = _server(live, token)
        thread = threading.Thread(target=server.run, args=([listener],), name="dashboard", daemon=True)
        thread.start()
        limit = time.monotonic() + START_TIMEOUT_S
        while not server.started and thread.is_alive() and time.monotonic() < limit:
            time.sleep(0.01)
        try:
            yield token.link(address(listener))
        finally:
            server.should_exit = True
            thread.join(START_TIMEOUT_S)
            listener.close()


def _server(live: Live, token: Token) -> PageServer:
    config = uvicorn.Config(
        make_app(live, token),
        http=bounded(most_connections()),  # type: ignore[arg-type] # it is called as a class would be
        ws="none",
        backlog=BACKLOG,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_WORDS_S,
        lifespan="off",
    )
    spare_log()  # after the configuration, which sets the loggers up
    return PageServer(config, live)
