"""Read back what was written, with the reader's own parsers, before the commit.

A file that cannot be parsed is rejected while the previous checkpoint is still the newest: once committed,
it would make every resume fail. Manifest, history line and array headers are read, not the array data.
"""

from pathlib import Path

from oneflower.checkpoints.entry import Line
from oneflower.checkpoints.files import Files
from oneflower.checkpoints.history import line_problem
from oneflower.checkpoints.manifest import DamagedError, FileRecord, parse
from oneflower.checkpoints.model import ModelSchema
from oneflower.checkpoints.names import HISTORY, manifest_name, temporary
from oneflower.checkpoints.npz import Arrays
from oneflower.checkpoints.npz_reading import UNREADABLE, npz_schema
from oneflower.checkpoints.signing import Signer
from oneflower.errors import CheckpointError


def check_schema(files: Files, root: Path, name: str, arrays: Arrays) -> None:
    """Raise CheckpointError unless the temporary file holds arrays with these names, shapes and dtypes."""
    try:
        with files.open(temporary(root / name)) as file:
            found = ModelSchema(arrays=npz_schema(file))
    except UNREADABLE as error:
        raise _unreadable(name, str(error)) from error
    if differences := ModelSchema.of(arrays).differences(found):
        raise _unreadable(name, "; ".join(differences))


def check_manifest(
    files: Files, root: Path, number: int, records: list[FileRecord], signer: Signer | None = None
) -> None:
    """Raise CheckpointError unless the temporary manifest is valid and names these files."""
    name = manifest_name(number)
    with files.open(temporary(root / name)) as file:
        data = file.read()
    try:
        found = list(parse(data, number, signer).files)
    except DamagedError as error:
        raise _unreadable(name, str(error)) from error
    if found != records:
        raise _unreadable(name, f"it names {found}, written were {records}")


def check_line(files: Files, root: Path, line: Line) -> None:
    """Raise CheckpointError unless the line is where it was written and follows its predecessor."""
    with files.open(root / HISTORY) as file:
        file.seek(line.begin)
        found = file.read(len(line.text))
    problem = line_problem(found, before=line.before, begin=line.begin)
    if problem is None and found != line.text:
        problem = "differs from what was written"
    if problem is not None:
        raise _unreadable(HISTORY, f"the line at byte {line.begin} {problem}")


def _unreadable(name: str, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{name} cannot be read back after it was written: {problem}. Nothing was committed; the previous "
        "checkpoint stays the newest. Check the disk (dmesg, smartctl)."
    )
