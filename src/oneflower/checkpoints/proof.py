"""Read back what was written, by the reader's own parsers, before anything is committed.

What cannot be read back is refused while the checkpoint before is the newest: found at a resume, it would
end every resume. The parts that are parsed are read, not the arrays' data.
"""

import zipfile
from pathlib import Path

from oneflower.checkpoints.files import Files
from oneflower.checkpoints.history import read_back
from oneflower.checkpoints.ledger import Entry
from oneflower.checkpoints.manifest import DamagedError, FileRecord, parse
from oneflower.checkpoints.model import ModelSchema
from oneflower.checkpoints.names import HISTORY, manifest_name, temporary
from oneflower.checkpoints.npz import Arrays, npz_schema
from oneflower.errors import CheckpointError


def check_schema(files: Files, root: Path, name: str, arrays: Arrays) -> None:
    """Raise CheckpointError unless the file under its temporary name holds arrays of this form."""
    try:
        with files.open(temporary(root / name)) as file:
            found = ModelSchema(arrays=npz_schema(file))
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise _unreadable(name, str(error)) from error
    if differences := ModelSchema.of(arrays).differences(found):
        raise _unreadable(name, "; ".join(differences))


def check_manifest(files: Files, root: Path, number: int, records: list[FileRecord]) -> None:
    """Raise CheckpointError unless the manifest under its temporary name is one, and names these files."""
    name = manifest_name(number)
    with files.open(temporary(root / name)) as file:
        data = file.read()
    try:
        found = list(parse(data, number).files)
    except DamagedError as error:
        raise _unreadable(name, str(error)) from error
    if found != records:
        raise _unreadable(name, f"it names {found}, written were {records}")


def check_line(files: Files, root: Path, entry: Entry) -> None:
    """Raise CheckpointError unless the line lies where it was written and goes on from the one before it."""
    with files.open(root / HISTORY) as file:
        file.seek(entry.begin)
        line = file.read(len(entry.line))
    problem = read_back(line, before=entry.before, begin=entry.begin)
    if problem is None and line != entry.line:
        problem = "is another than was written"
    if problem is not None:
        raise _unreadable(HISTORY, f"the line at byte {entry.begin} {problem}")


def _unreadable(name: str, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{name} cannot be read back after it was written: {problem}. Nothing was committed; the checkpoint "
        "before stays the newest. Check the disk (dmesg, smartctl)."
    )
