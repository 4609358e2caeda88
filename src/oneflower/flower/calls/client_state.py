"""Keep a client's `context.state` on its disk, under the place of the message that left it behind.

At a message the app gets the state as it was after the last message before it in this history of the
training. So an attempt that is repeated starts like the first one, and a training that resumes from the
checkpoint of round k gives every client the state of round k back. What is newer is dropped then.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging import WARNING
from pathlib import Path
from typing import Final

from oneflower.bounded_json import SMALL, parse_json
from oneflower.errors import StateError
from oneflower.files import open_to_read, read_bytes, replace_file
from oneflower.flower.api import Context, RecordDict, log
from oneflower.flower.arguments import STATE_VARIABLE
from oneflower.flower.calls.control import STEPS, Control
from oneflower.flower.calls.state_file import dumped, loaded

MOST_TRAININGS: Final = 8
MOST_SESSIONS: Final = 64
MOST_BYTES: Final = 8 << 30
DAMAGED: Final = ".damaged"
_SESSIONS: Final = "sessions.json"
_NAME: Final = re.compile(r"([0-9]{10})-([0-9])-([0-9a-f]{64})\.npz")

Place = tuple[int, int]


@dataclass(slots=True, kw_only=True)
class Kept:
    """What became of a client's state in one message.

    ``given`` is the round of the state that the app got, None where it got an empty one; ``problem`` names a
    file that could not be used.
    """

    given: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    place: Place
    digest: str
    path: Path


def state_folder() -> Path | None:
    """Return where this process keeps the state of clients."""
    named = os.environ.get(STATE_VARIABLE)
    return Path(named) if named else None


@contextmanager
def kept_state(folder: Path, control: Control, partition: object, context: Context) -> Iterator[Kept]:
    """Give the app the state of the place of its message, and keep what it leaves behind.

    Raises
    ------
    StateError
        The folder cannot be written. The message then ends with an error, so that no client goes on with
        another state than the server counts on.
    """
    places = StatePlaces(folder, control, partition)
    kept = Kept()
    try:
        is_current, is_first = places.begin()
        entries = places.entries()
        before, state = places.state_before(entries, kept)
        if entries or not is_first:  # else it has what messages without a control record have left behind
            context.state = state
        kept.given = before.place[0] if before is not None else None
    except OSError as error:
        raise _failed("read", folder, error) from error
    yield kept
    if is_current:
        try:
            places.keep(context.state, before)
        except OSError as error:
            raise _failed("written", folder, error) from error


class StatePlaces:
    """The states that one client has left behind in one training."""

    def __init__(self, root: Path, control: Control, partition: object) -> None:
        self._root, self._control = root, control
        self._training = root / control.training
        name = str(partition)
        self._folder = self._training / (name if name.isdecimal() and len(name) < 12 else "none")

    def begin(self) -> tuple[bool, bool]:
        """Take up the session; return whether it is the newest, and whether it begins a training.

        A message of an earlier session, whose client was slow, is run, and its state is not kept.
        """
        if not self._training.is_dir():
            self._training.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._forget_trainings()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        sessions = self._sessions()
        if self._control.session in sessions:
            return sessions[-1] == self._control.session, False
        newer = [each for each in self.entries() if each.place > (self._control.resumed_from, STEPS["train"])]
        for each in newer:
            each.path.unlink(missing_ok=True)
        _sync(self._folder)
        text = json.dumps([*sessions, self._control.session][-MOST_SESSIONS:])
        replace_file(self._folder / _SESSIONS, text.encode(), mode=0o600)
        os.utime(self._training)
        return True, not (newer or sessions or self._control.resumed_from)

    def entries(self) -> list[_Entry]:
        """Return what was left behind, the oldest first."""
        found = []
        for path in self._folder.iterdir():
            if match := _NAME.fullmatch(path.name):
                place = int(match[1]), int(match[2])
                found.append(_Entry(place=place, digest=match[3], path=path))
        return sorted(found, key=lambda each: each.place)

    def state_before(self, entries: list[_Entry], kept: Kept) -> tuple[_Entry | None, RecordDict]:
        """Return the newest state from before the message; what cannot be used is set aside and named."""
        for entry in reversed(entries):
            if entry.place < self._control.place:
                try:
                    return entry, loaded(_verified(entry))
                except ValueError as error:
                    kept.problem = f"{entry.path} cannot be used: {error}"
                    log(WARNING, "client state damaged, set aside path=%s reason=%s", entry.path, error)
                    entry.path.replace(entry.path.with_name(entry.path.name + DAMAGED))
        return None, RecordDict()

    def keep(self, state: RecordDict, before: _Entry | None) -> None:
        """Write the state that the app has left behind, and delete what no resume needs."""
        data = dumped(state)
        digest = hashlib.sha256(data).hexdigest()
        unchanged = digest == before.digest if before is not None else not state
        name = f"{self._control.round:010d}-{self._control.step}-{digest}.npz"
        if not unchanged and not (self._folder / name).exists():
            replace_file(self._folder / name, data, mode=0o600)
        needed = self._needed(None if unchanged else name)
        for entry in self.entries():
            if entry.path.name not in needed:
                entry.path.unlink(missing_ok=True)
        _sync(self._folder)

    def _needed(self, name: str | None) -> set[str]:
        """Return the files that are needed: for this place, for another attempt of it, and for a resume."""
        entries, now = self.entries(), self._control.place
        others = [each for each in entries if each.place != now] + [
            each for each in entries if each.path.name == name
        ]
        before = [each.place for each in others if each.place < now]
        resumes = [(number, STEPS["train"]) for number in self._control.kept]
        places = {max((each.place for each in others if each.place <= one), default=None) for one in resumes}
        places |= {max(before, default=None), *(each.place for each in others if each.place >= now)}
        return {each.path.name for each in others if each.place in places}

    def _sessions(self) -> list[str]:
        try:
            read = parse_json(read_bytes(self._folder / _SESSIONS, SMALL.most_bytes))
        except (FileNotFoundError, ValueError):
            return []
        return [each for each in read if isinstance(each, str)] if isinstance(read, list) else []

    def _forget_trainings(self) -> None:
        """Delete what was kept for trainings that have not been seen for the longest time."""
        ages = []
        for each in self._root.iterdir():
            if re.fullmatch("[0-9a-f]{8,64}", each.name):
                with suppress(FileNotFoundError):  # another client of this machine has deleted it
                    ages.append((each.stat().st_mtime, each))
        for _, each in sorted(ages)[:-MOST_TRAININGS]:
            shutil.rmtree(each, ignore_errors=True)


def _verified(entry: _Entry) -> bytes:
    with open_to_read(entry.path, follow=False) as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES} bytes")
        data = file.read()
    if hashlib.sha256(data).hexdigest() != entry.digest:
        raise ValueError("its SHA-256 is not the one in its name")
    return data


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(what: str, folder: Path, error: OSError) -> StateError:
    return StateError(
        f"the client's state could not be {what} below {folder}: {error.strerror or error}. Free some space "
        f"or mend the folder's permissions; {STATE_VARIABLE} names it. Without it the state is kept in "
        "memory, for one run"
    )
