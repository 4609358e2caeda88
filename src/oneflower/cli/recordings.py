"""The recording of an app's own loop, for `oneflower checkpoints`: verified as checkpoints are."""

import os
import sys
from pathlib import Path
from typing import Final

from oneflower.checkpoints.names import RECORDING
from oneflower.errors import CheckpointError
from oneflower.foreign_text import printable
from oneflower.journal import has_journal, read_patiently, reduce
from oneflower.local_cluster.folder import StateFolder
from oneflower.settings import checkpoint_key
from oneflower.words import are, counted

_MOST_NAMED: Final = 20
_ENDINGS: Final = "*.reply"


def recording_in(folder: Path) -> Path | None:
    """Return the folder of the recording in a checkpoint folder; None where nothing is recorded."""
    inside = folder / RECORDING
    return inside if any(inside.glob(_ENDINGS)) else None


def recording_words(folder: Path) -> str:
    """Return what a folder without checkpoints holds, as a sentence; empty where it is no recording."""
    inside = recording_in(folder)
    if inside is None:
        return ""
    number = sum(1 for _ in inside.glob(_ENDINGS))
    replies = counted(number, "recorded reply", "recorded replies")
    return (
        f"{replies} of an app that sends its messages in a loop of its own {are(number)} in {inside}: "
        "its model is where the app keeps it"
    )


def none_in(folder: Path) -> str:
    """Say that there are no checkpoints, and why, where that is known."""
    if words := recording_words(folder):
        return f"No checkpoints in {folder}. {words[:1].upper()}{words[1:]}."
    if _is_off(folder):
        return f"No checkpoints in {folder}: FL_CHECKPOINT_ENABLED was NO. Set it to YES to keep some."
    return f"No checkpoints in {folder}."


def _is_off(folder: Path) -> bool:
    journals = (StateFolder(each).journal for each in (folder, folder.parent))
    journal = next((each for each in journals if has_journal(each)), None)
    settings = () if journal is None else reduce(read_patiently(journal)).settings
    return any(row.variable == "FL_CHECKPOINT_ENABLED" and row.value == "NO" for row in settings)


def verify_recording(folder: Path) -> None:
    """Verify the recording in a checkpoint folder, where there is one, and say what came of it.

    Raises
    ------
    CheckpointError
        Recorded replies are damaged.
    """
    inside = recording_in(folder)
    if inside is None:
        return
    # Imported here: it needs Flower, which the other commands do not.
    from oneflower.stock.recording_check import check_recording  # noqa: PLC0415

    checked = list(check_recording(inside, checkpoint_key(os.environ)))
    damaged = [each for each in checked if each.problem]
    sys.stdout.writelines(
        f"{each.name}: DAMAGED, {printable(each.problem)}\n" for each in damaged[:_MOST_NAMED]
    )
    good = len(checked) - len(damaged)
    sys.stdout.write(
        f"recording: {good} of {counted(len(checked), 'recorded reply', 'recorded replies')} good\n"
    )
    if damaged:
        names = [each.name for each in damaged[:_MOST_NAMED]]
        more = f" and {len(damaged) - len(names)} more" if len(damaged) > len(names) else ""
        raise CheckpointError(
            f"{len(damaged)} of {len(checked)} recorded replies in {inside} are damaged: "
            f"{', '.join(names)}{more}. "
            "A restarted app does not get them: their clients are asked again"
        )
