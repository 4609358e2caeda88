"""What the commands of `oneflower checkpoints` share: their options, and the reader of a folder."""

from pathlib import Path
from typing import Annotated

import typer

from oneflower.checkpoints import CheckpointReader
from oneflower.cli.sources import signer
from oneflower.errors import CheckpointError

FolderArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PATH]",
        show_default=False,
        help="Checkpoint folder, or state folder of a training.",
    ),
]
FolderOption = Annotated[
    Path,
    typer.Option("--path", metavar="DIR", envvar="FL_CHECKPOINT_PATH", help="Same as PATH."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
RoundArgument = Annotated[int, typer.Argument(metavar="ROUND", min=0)]


def reader_of(path: Path) -> CheckpointReader:
    """Return a reader of an existing folder: a mistyped name must not create one."""
    if not path.is_dir():
        raise CheckpointError(
            f"the checkpoint folder {path} does not exist. "
            "Pass that of the training as PATH, with --path or in FL_CHECKPOINT_PATH."
        )
    return CheckpointReader(path, signer=signer(path))
