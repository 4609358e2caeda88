"""File names in a checkpoint folder."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LATEST: Final = "checkpoint_latest.npz"
METADATA: Final = "checkpoint_metadata.json"
BEST: Final = "checkpoint_best.npz"
HISTORY: Final = "checkpoint_history.jsonl"
LOCK: Final = ".checkpoint.lock"
RECORDING: Final = "exchanges"
"""The folder, beside the checkpoints, of the recording of an app's own loop."""
REJECTED: Final = "rejected"
"""Why a round was set aside from which no client could train: the training has gone back from it."""

# No training comes near 10^15 rounds, and a number of any length in a foreign name takes any time to print.
_ROUND: Final = r"0|[1-9][0-9]{0,14}"
_MANIFEST: Final = re.compile(rf"checkpoint_round_({_ROUND})\.json")
_DATA: Final = re.compile(rf"checkpoint_round_({_ROUND})(\.state)?\.npz")
_TEMPORARY: Final = re.compile(r"\.checkpoint_.*\.tmp")
_ASIDE: Final = re.compile(
    rf"(checkpoint_round_(?:{_ROUND})(?:\.state)?\.(?:npz|json)|checkpoint_history\.jsonl)"
    r"\.([a-z]+)-([1-9][0-9]{0,8})"
)

_SINGLE: Final = frozenset({METADATA, HISTORY, LOCK})


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAsideName:
    """The parts of the name of a file that was set aside: original name, reason, running number."""

    name: str
    reason: str
    number: int


def model_name(number: int) -> str:
    """Return the name of a round's model file."""
    return f"checkpoint_round_{number}.npz"


def state_name(number: int) -> str:
    """Return the name of a round's optimizer state file."""
    return f"checkpoint_round_{number}.state.npz"


def manifest_name(number: int) -> str:
    """Return the name of a round's manifest."""
    return f"checkpoint_round_{number}.json"


def round_files(number: int) -> tuple[str, str, str]:
    """Return a round's file names, the manifest first: a round is removed manifest first."""
    return manifest_name(number), model_name(number), state_name(number)


def temporary(path: Path) -> Path:
    """Return the hidden name under which a file is written before it is renamed."""
    return path.with_name(f".{path.name}.tmp")


def manifest_round(name: str) -> int | None:
    """Return the round in a manifest's name; None for any other name."""
    match = _MANIFEST.fullmatch(name)
    return int(match[1]) if match else None


def data_round(name: str) -> int | None:
    """Return the round in the name of a model or state file; None for any other name."""
    match = _DATA.fullmatch(name)
    return int(match[1]) if match else None


def is_ours(name: str) -> bool:
    """Return whether this is the name of a file that holds a part of a checkpoint, set aside or not."""
    return name in _SINGLE or bool(
        _MANIFEST.fullmatch(name) or _DATA.fullmatch(name) or _ASIDE.fullmatch(name)
    )


def is_temporary(name: str) -> bool:
    """Return whether this is the name of a file that was being written, possibly left by a crash."""
    return _TEMPORARY.fullmatch(name) is not None


def parse_set_aside(name: str) -> SetAsideName | None:
    """Parse the name of a file that was set aside; None for any other name."""
    match = _ASIDE.fullmatch(name)
    return SetAsideName(name=match[1], reason=match[2], number=int(match[3])) if match else None
