"""Small JSON messages, with file descriptors, between the executor, the zygote and its children."""

import json
import socket
from collections.abc import Sequence
from typing import Any

MAX_BYTES = 65536
MAX_DESCRIPTORS = 4


def send(link: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message; OSError when the other end is gone."""
    socket.send_fds(link, [json.dumps(message).encode()], list(descriptors))


def receive(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Wait for one message; EOFError when the other end is gone."""
    content, descriptors, _, _ = socket.recv_fds(link, MAX_BYTES, MAX_DESCRIPTORS)
    if not content:
        raise EOFError("the process at the other end is gone")
    return json.loads(content), descriptors
