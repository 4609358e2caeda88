"""How executor, zygote and children exchange data: orders over a socket, contents in anonymous memory.

An order is a small JSON message, with file descriptors. A parcel holds named byte strings in anonymous
memory and is passed as a descriptor. Its layout: the contents one after the other, then a JSON index, then
8 bytes with the length of the index and 8 bytes of magic. The magic is written last, so that a parcel whose
writer was killed does not open.
"""

import json
import mmap
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

MAX_BYTES = 65536
MAX_DESCRIPTORS = 4
MAGIC = b"oneflwr1"
TRAILER_BYTES = 16


def send(link: socket.socket, order: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one order; OSError when the other end is gone."""
    socket.send_fds(link, [json.dumps(order).encode()], list(descriptors))


def receive(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Wait for one order; EOFError when the other end is gone."""
    content, descriptors, _, _ = socket.recv_fds(link, MAX_BYTES, MAX_DESCRIPTORS)
    if not content:
        raise EOFError("the process at the other end is gone")
    return json.loads(content), descriptors


class IncompleteParcelError(Exception):
    """The parcel was not closed by its writer."""


class ParcelWriter:
    """Writes a parcel; several threads may add at once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._index: list[tuple[str, int, int]] = []
        self._end = 0

    def add(self, name: str, content: bytes) -> None:
        """Add one named content."""
        with self._lock:
            self._index.append((name, self._end, len(content)))
            self._write(content)

    def close(self) -> None:
        """Write the index and make the parcel valid. The descriptor stays open."""
        with self._lock:
            index = json.dumps(self._index).encode()
            self._write(index)
            self._write(len(index).to_bytes(8, "big") + MAGIC)

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:  # one call writes 2 GiB at most
            written = os.pwrite(self._descriptor, rest, self._end)
            self._end += written
            rest = rest[written:]


class Parcel:
    """Reads a parcel; a context manager.

    Raises
    ------
    IncompleteParcelError
        Its writer did not close it.
    """

    def __init__(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size < TRAILER_BYTES:
            raise IncompleteParcelError(f"{size} bytes, expected at least {TRAILER_BYTES}")
        self._map = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        trailer = self._map[-TRAILER_BYTES:]
        if trailer[8:] != MAGIC:
            self._map.close()
            raise IncompleteParcelError(f"the last 8 bytes are {trailer[8:]!r}, expected {MAGIC!r}")
        index_end = size - TRAILER_BYTES
        index = self._map[index_end - int.from_bytes(trailer[:8], "big") : index_end]
        self._index: dict[str, tuple[int, int]] = {
            name: (at, length) for name, at, length in json.loads(index)
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._map.close()

    def __getitem__(self, name: str) -> bytes:
        at, length = self._index[name]
        return self._map[at : at + length]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def small(self, most_bytes: int, *, apart: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield names and contents of at most so many bytes, without those in `apart`."""
        for name, (_, length) in self._index.items():
            if length <= most_bytes and name not in apart:
                yield name, self[name]


def new_parcel(name: str) -> int:
    """Return a descriptor of empty anonymous memory; `name` shows up in /proc only."""
    return os.memfd_create(name, os.MFD_CLOEXEC)
