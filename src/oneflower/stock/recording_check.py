"""Whether the files of a recording are as they were written; nothing is changed in its folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oneflower.errors import CheckpointError
from oneflower.stock.codec import decode, head_of
from oneflower.stock.record import SUFFIX, read_reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One recorded reply; `problem` says what is wrong with it, empty for nothing."""

    name: str
    size_bytes: int
    problem: str = ""


def _which(path: Path) -> str:
    """Return which message a file is the reply to, as far as its description can be read."""
    try:
        head = head_of(read_reply(path))
        return f"the reply to message {int(head['number'])} to client {int(head['node'])}: "
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def check_recording(folder: Path, key: str = "") -> Iterator[Checked]:
    """Verify each recorded reply; without the key, one that is signed cannot be told from a damaged one."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        size_bytes, problem = 0, ""
        try:
            data = read_reply(path)
            size_bytes = len(data)
            decode(data, key)
        except FileNotFoundError:
            continue  # a running app has set it aside
        except (OSError, CheckpointError) as error:
            problem = f"{_which(path)}{error}"
        yield Checked(name=path.name, size_bytes=size_bytes, problem=problem)
