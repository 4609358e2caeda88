"""The folder with the outcomes of an own loop's messages: read after a crash, appended to while it runs."""

import itertools
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from logging import INFO, WARNING
from pathlib import Path
from typing import Any, Final

from oneflower.checkpoints.lock import FolderLock
from oneflower.checkpoints.names import RECORDING
from oneflower.errors import CheckpointError, ForeignError, StateError
from oneflower.files import probe, read_bytes, read_json, replace_file, state_errors, write_json
from oneflower.flower.api import log
from oneflower.settings import TrainingConfig, checkpoint_key
from oneflower.stock.about import how_it_differs
from oneflower.stock.codec import Content, Kept, decode, encode, head_of
from oneflower.stock.effects import safety_asked
from oneflower.stock.nodes import Pins

MB: Final = 1_000_000
_ABOUT: Final = "training.json"
_NODES: Final = "nodes.json"
SUFFIX: Final = ".reply"
"""How the name of a recorded reply ends."""
_MODE: Final = 0o600
_LOCK_WAIT_S: Final = 15.0
_MOST_LISTS: Final = 10_000
"""Of the newest lists of nodes; a cluster in which a node comes and goes would fill the file."""
_LARGEST: Final = 16 << 30

Key = tuple[int, int]
"""A node, by its stable id, and the how-manieth message to it."""


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    digest: str


class Recording:
    """What came of each message of an own loop. Its caller lets one thread at a time in.

    Parameters
    ----------
    folder : Path
        Where it is kept; made if it is not there.
    about : mapping
        What decides the outcomes besides the messages: the app, the seed. A recording of another one is set
        aside.
    most_bytes : int
        At this size the recording stops; a crash then goes back to where it stopped.
    key : str
        FL_CHECKPOINT_KEY, empty for none.
    """

    def __init__(self, folder: Path, *, about: Mapping[str, object], most_bytes: int, key: str = "") -> None:
        self.folder = folder
        self.training = ""
        self.stopped = ""
        """Why nothing more is recorded; empty while it is."""
        self.size_bytes = 0
        self.recorded = 0
        """How many outcomes were there at the start."""
        self._about = dict(about)
        self._most_bytes = most_bytes
        self._key = key
        self._lock = FolderLock(folder)
        self._next = 1
        self._there: dict[Key, _Place] = {}
        self._lists: list[tuple[int, list[int]]] = []
        self.pins: Pins = {}
        """Who had which stable id; written with the lists of nodes."""
        self._noted: Pins = {}
        self._aside: Path | None = None

    def open(self, *, resume: bool = True) -> None:
        """Take the folder, and read what is there.

        Raises
        ------
        StateError, CheckpointError
            The folder cannot be used; another run writes it; what is there cannot be read or is another's.
        """
        with state_errors(self.folder):
            probe(self.folder)
            self._lock.acquire(_LOCK_WAIT_S)
            about = read_json(self.folder / _ABOUT)
            if why := self._why_not(about, resume=resume):
                self._set_aside([path for path in self.folder.iterdir() if self._is_ours(path)], why)
                about = {}
            self.training = str(about.get("training") or secrets.token_hex(16))
            self._read()
            if not about:
                write_json(self.folder / _ABOUT, {"v": 1, "training": self.training, "about": self._about})

    def is_others(self, *, resume: bool = True) -> str:
        """Return why `open` would set aside what is there; empty where it would not. Nothing is changed."""
        with state_errors(self.folder):
            return self._why_not(read_json(self.folder / _ABOUT), resume=resume)

    def _why_not(self, about: Mapping[str, Any], *, resume: bool) -> str:
        if not about:
            return ""
        if not resume:
            return "FL_RESUME is never"
        how = how_it_differs(about.get("about"), self._about)
        return f"the recording is {how}" if how else ""

    def close(self) -> None:
        """Let the folder go."""
        self._lock.release()

    # --- what was recorded ------------------------------------------------------------------------

    @property
    def left(self) -> int:
        """How many recorded outcomes have not been given again."""
        return len(self._there)

    def given_again(self, key: Key, digest: str) -> Kept | None:
        """Return what came of a message; None where nothing is recorded.

        Where the app sends something else than was recorded, the rest of the recording is set aside: what
        came of those messages is not what would come of these.
        """
        place = self._there.pop(key, None)
        if place is None:
            return None
        if place.digest != digest:
            self._there[key] = place
            self.drop_rest(
                "the app sends other messages than before the crash: it depends on the time, on files of its "
                "own or on a generator that is not seeded"
            )
            return None
        try:
            return self._load(place.path)
        except ForeignError:
            raise
        except (OSError, CheckpointError) as error:
            self._set_aside([place.path], f"{place.path.name} cannot be read: {error}")
            return None

    def drop_rest(self, why: str) -> None:
        """Set aside what has not been given again; from here on the messages are sent."""
        left = [place.path for place in self._there.values()]
        self._there.clear()
        self._lists = self._lists[-1:]
        self._set_aside(left, why)

    def nodes_after(self, sent: int) -> list[int]:
        """Return the nodes that the app was shown last when it had sent so many messages; empty if never."""
        return next((nodes for after, nodes in reversed(self._lists) if after <= sent), [])

    # --- recording --------------------------------------------------------------------------------

    def keep(self, key: Key, digest: str, content: Content) -> None:
        """Write what came of a message; on a full disk, or at the limit, nothing more is recorded."""
        if self.stopped:
            return
        kept = Kept(node=key[0], number=key[1], digest=digest, training=self.training, content=content)
        data = encode(kept, self._key)
        if self.size_bytes + len(data) > self._most_bytes:
            self._stop(f"it would have more than FL_MAX_REPLAY_MB={self._most_bytes // MB}")
            return
        try:
            replace_file(self.folder / f"{self._next:08d}{SUFFIX}", data, mode=_MODE)
        except OSError as error:
            self._stop(f"{self.folder} cannot be written: {error.strerror or error}")
            return
        self._next += 1
        self.size_bytes += len(data)

    def note_nodes(self, sent: int, nodes: list[int]) -> None:
        """Remember which nodes the app was shown when it had sent so many messages."""
        is_same = bool(self._lists) and self._lists[-1][1] == nodes
        if self.stopped or (is_same and self._noted == self.pins):
            return
        if not is_same:
            self._lists = [*self._lists, (sent, nodes)][-_MOST_LISTS:]
        self._noted = dict(self.pins)
        try:
            write_json(self.folder / _NODES, {"lists": self._lists, "pins": self.pins})
        except StateError as error:
            self._stop(str(error))

    def _stop(self, why: str) -> None:
        self.stopped = why
        log(
            WARNING,
            "the recording of the app's messages stops: %s. The app goes on; after a crash it goes on from "
            "here, and its clients work again for what comes after",
            why,
        )

    # --- files ------------------------------------------------------------------------------------

    def _read(self) -> None:
        unread: dict[Path, str] = {}
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                self._next = max(self._next, int(path.stem) + 1)
                with path.open("rb") as file:
                    head = head_of(file.read(_head_bytes(path)))
                key = int(head["node"]), int(head["number"])
                if head["training"] != self.training:
                    raise ValueError("it is of another training")  # noqa: TRY301
                self._there[key] = _Place(path, str(head["digest"]))
                self.size_bytes += path.stat().st_size
            except (OSError, ValueError, LookupError, TypeError) as error:
                unread[path] = f"{path.name} cannot be read: {error}"
        if unread:
            more = f", and {len(unread) - 1} more" if len(unread) > 1 else ""
            self._set_aside(unread, f"{next(iter(unread.values()))}{more}")
        self.recorded = len(self._there)
        nodes = read_json(self.folder / _NODES)
        if isinstance(pins := nodes.get("pins"), dict):
            self.pins.update(pins)
            self._noted = dict(pins)
        with suppress(ValueError, TypeError):
            lists = nodes.get("lists", []) if self._there else []
            self._lists = [(int(after), [int(node) for node in nodes]) for after, nodes in lists]
        if self._there:
            log(INFO, "recorded replies found path=%s replies=%d", self.folder, self.recorded)

    def _load(self, path: Path) -> Kept:
        kept = decode(read_reply(path), self._key)
        if kept.training != self.training:
            raise ForeignError("it is of another training", word="OTHER TRAINING")
        return kept

    def _is_ours(self, path: Path) -> bool:
        return path.suffix == SUFFIX or path.name in {_ABOUT, _NODES}

    def _new_aside(self) -> Path:
        """Return the folder for what this start sets aside."""
        paths = (self.folder / f"set-aside-{number}" for number in itertools.count(1))
        return next(path for path in paths if not os.path.lexists(path))

    def _set_aside(self, paths: Iterable[Path], why: str) -> None:
        """Move files into a folder that is not read again; they are never deleted here."""
        moved = list(paths)
        if not moved:
            return
        is_first, self._aside = self._aside is None, self._aside or self._new_aside()
        aside = self._aside
        # One warning a start: what is damaged is often damaged in many files.
        level = WARNING if is_first else INFO
        log(level, "recorded replies are not used: %s. files=%d moved_to=%s", why, len(moved), aside)
        try:
            aside.mkdir(exist_ok=True)
            for path in moved:
                path.rename(_free_name(aside / path.name))
        except OSError as error:
            raise StateError(f"cannot set aside files of {self.folder}: {error}") from error


def _free_name(path: Path) -> Path:
    """Return a path that nothing has: this start may have set a file of the same name aside before."""
    names = (path if not number else path.with_name(f"{path.name}.{number}") for number in itertools.count())
    return next(each for each in names if not os.path.lexists(each))


def read_reply(path: Path) -> bytes:
    """Return the bytes of a recorded reply."""
    return read_bytes(path, _LARGEST, follow=False)


def _head_bytes(path: Path) -> int:
    """Return how much of a file its description takes, with what stands before it."""
    with path.open("rb") as file:
        begin = file.read(16)
    return 16 + min(int.from_bytes(begin[8:], "big"), 256 << 20)


def recording_of(config: TrainingConfig, about: Mapping[str, object]) -> Recording | None:
    """Return the recording of the settings; None where there is to be none."""
    if not (config.checkpoint_enabled and config.replay):
        return None
    return Recording(
        Path(config.checkpoint_path) / RECORDING,
        about=about,
        most_bytes=config.max_replay_mb * MB,
        key=checkpoint_key(os.environ),
    )


def left_alone(recording: Recording | None, config: TrainingConfig) -> str:
    """Return why a recording stays as it is: another training's, where this one is refused if it trains."""
    if recording is None or not safety_asked(config):
        return ""
    why = recording.is_others(resume=config.resume != "never")
    return f"{recording.folder} is left as it is, because {why}" if why else ""
