"""Whose keys may join a SuperLink: those of FL_NODE_KEYS, and the pins of a service's VMs."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oneflower.codes import RefusalCode
from oneflower.files import open_to_read
from oneflower.journal.events import JoinRefused
from oneflower.node_keys import NodeKey, Pins

log = logging.getLogger(__name__)

MOST_BYTES: Final = 8 * 1024 * 1024
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Member:
    """A key that may join, and whose it is, for the log."""

    key: NodeKey
    name: str


class Members:
    """The keys that may join, by their PEM; the file of pins is read again when it changes.

    A file that is missing or damaged leaves what was read before: a half-written file must end no training.
    """

    def __init__(
        self,
        given: Iterable[NodeKey],
        file: Path | None = None,
        *,
        refuse: Callable[[JoinRefused], object] = lambda _: None,
    ) -> None:
        self._given = {key.pem: Member(key, "FL_NODE_KEYS") for key in given}
        self._file = file
        self._refuse = refuse
        self._lock = threading.Lock()
        self._stamp: _Stamp | None = None
        self._pins = Pins()
        self._current: Mapping[bytes, Member] = self._given
        self.version = 0
        self.look()

    @property
    def current(self) -> Mapping[bytes, Member]:
        """The keys that may join now."""
        return self._current

    def look(self) -> bool:
        """Read the file if it has changed; return whether the keys did."""
        if self._file is None:
            return False
        with self._lock:
            stamp = _stamp_of(self._file)
            if stamp is None or stamp == self._stamp:
                return False
            self._stamp = stamp
            pins = _read(self._file)
            if pins is None:
                return False
            for vm, fingerprint in pins.changed.items():
                if self._pins.changed.get(vm) != fingerprint:
                    self._refuse(changed_key(vm, fingerprint))
            before, self._pins = self._current, pins
            pinned = {key.pem: Member(key, f"VM {vm}") for vm, key in pins.keys.items()}
            self._current = {**pinned, **self._given}
            changed = self._current.keys() != before.keys()
            self.version += changed
            return changed


def changed_key(vm: int, fingerprint: str) -> JoinRefused:
    """Return the alarm for another key in the name of a VM whose key is known."""
    return JoinRefused(
        code=RefusalCode.KEY_CHANGED,
        key=fingerprint,
        vm=str(vm),
        reason=f"OneGate shows another public key for VM {vm} than the one that the VM had first; the first "
        "one stays. Another VM of the service may have written it, or the VM has lost its key: see "
        "`oneflower appliance doctor` on both machines",
    )


def _stamp_of(file: Path) -> _Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(file: Path) -> Pins | None:
    try:
        with open_to_read(file) as opened:
            content = opened.read(MOST_BYTES)
        return Pins.parse(content.decode("utf-8"))  # a longer file is cut, and damaged
    except (OSError, ValueError) as error:
        log.warning("keys of the service not read file=%s reason=%s", file, error)
        return None
