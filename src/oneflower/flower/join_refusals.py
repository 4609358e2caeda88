"""Report SuperNodes that may not join: in the log and the journal, at a rate that nobody can raise."""

import functools
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oneflower.codes import KEY_ALARMS, RefusalCode
from oneflower.journal import JOURNAL_VARIABLE, Event, Journal, Owner
from oneflower.journal.events import JoinRefused
from oneflower.node_keys import fingerprint_of
from oneflower.procfs import this_process

log = logging.getLogger(__name__)

EVERY_S: Final = 60.0
ALARM_EVERY_S: Final = 600.0
MOST_SUBJECTS: Final = 1_000
_ANYONE: Final = ""


TWO_PROCESSES = (
    "two live processes use this key (or a proxy spreads one SuperNode's calls over several connections): "
    "if there should be one only, the key was copied; remove its file on the SuperNode, so that another "
    "is made, and the old key from the SuperLink"
)


def unknown_key(pem: bytes, peer: str) -> JoinRefused:
    """Return the refusal of a stranger, who called from `peer`."""
    reason = f"its key is not known (the last call came from {peer[:60]})"
    return JoinRefused(code=RefusalCode.UNKNOWN_KEY, key=fingerprint_of(pem), reason=reason)


def two_processes(pem: bytes) -> JoinRefused:
    """Return the alarm for a key that two live processes use."""
    return JoinRefused(code=RefusalCode.KEY_IN_USE, key=fingerprint_of(pem), reason=TWO_PROCESSES)


@functools.cache
def of_this_process() -> "Refusals":
    """Return the one that writes to the journal of this SuperLink, if it has one."""
    path = os.environ.get(JOURNAL_VARIABLE)
    if not path:
        return Refusals(_nowhere)
    return Refusals(Journal(Path(path), owner=Owner(process=this_process())).append)


def _nowhere(_event: Event) -> None:
    """Write to no journal: a SuperLink that was started by hand has none."""


@dataclass(slots=True)
class _Told:
    """When something was reported last, what has come since, and how often."""

    at: float
    pending: int = 0
    last: JoinRefused | None = None


class Refusals:
    """Write the first refusal of a kind at once, and those that follow as one event with their number.

    Strangers are one subject, whatever keys they show; an alarm has its VM, or its key, as its subject. A
    subject about which nothing has come for as long as its report is due is forgotten. While there are too
    many, those that come are counted together.
    """

    def __init__(
        self, write: Callable[[Event], object], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[tuple[RefusalCode, str], _Told] = {}

    def refuse(self, event: JoinRefused) -> None:
        """Report a refusal, now or with the next."""
        is_alarm = event.code in KEY_ALARMS
        subject = (event.code, (event.vm or event.key) if is_alarm else _ANYONE)
        now = self._clock()
        with self._lock:
            if subject not in self._told and len(self._told) >= MOST_SUBJECTS:
                self._forget(now)
                if len(self._told) >= MOST_SUBJECTS:
                    subject = event.code, _ANYONE
            told = self._told.get(subject)
            if told is None:
                self._told[subject] = _Told(at=now)
            else:
                told.pending, told.last = told.pending + event.count, event
                return
        self._report(event)

    def tick(self) -> None:
        """Report what has come since the last report, if it is time."""
        now, due = self._clock(), []
        with self._lock:
            for (code, _), told in self._told.items():
                if told.last is not None and now - told.at >= _every_s(code):
                    due.append((told.last, told.pending))
                    told.at, told.pending, told.last = now, 0, None
        for event, count in due:
            self._report(
                JoinRefused(code=event.code, key=event.key, vm=event.vm, count=count, reason=event.reason)
            )

    def _forget(self, now: float) -> None:
        old = [
            subject
            for subject, told in self._told.items()
            if told.last is None and now - told.at >= _every_s(subject[0])
        ]
        for subject in old:
            del self._told[subject]

    def _report(self, event: JoinRefused) -> None:
        level = logging.ERROR if event.code in KEY_ALARMS else logging.WARNING
        log.log(
            level,
            "supernode refused code=%s key=%s vm=%s count=%d reason=%s",
            event.code,
            event.key,
            event.vm or "-",
            event.count,
            event.reason,
        )
        self._write(event)


def _every_s(code: RefusalCode) -> float:
    return ALARM_EVERY_S if code in KEY_ALARMS else EVERY_S
