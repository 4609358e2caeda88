"""`oneflower export-adapter`: export the adapter of a fine-tuning for peft."""

from pathlib import Path
from typing import Annotated

import typer

from oneflower.checkpoints import CheckpointReader
from oneflower.cli.sources import DEFAULT_CHECKPOINTS, checkpoint_folder
from oneflower.errors import CheckpointError
from oneflower.language_models.adapter import export_adapter as write_adapter


def export_adapter(
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder.", show_default=False)],
    *,
    path: Annotated[
        Path,
        typer.Option(
            "--path",
            metavar="DIR",
            envvar="FL_CHECKPOINT_PATH",
            help="Checkpoint folder, or state folder of a training.",
        ),
    ] = DEFAULT_CHECKPOINTS,
    number: Annotated[
        int | None,
        typer.Option("--round", metavar="N", min=1, help="Round; by default the newest.", show_default=False),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Base model in the adapter's config; by default its name.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Export the LoRA adapter of a checkpoint as a folder that peft can load."""
    reader = CheckpointReader(checkpoint_folder(None, path))
    checkpoint = reader.latest() if number is None else reader.load(number)
    if checkpoint is None:
        raise CheckpointError(
            f"{path} holds no checkpoint. Pass the folder of a training with --path; oneflower up writes "
            f"checkpoints/ in its state folder"
        )
    write_adapter(checkpoint.arrays, checkpoint.versions, target, base_model=base_model)
    typer.echo(f"{target}: adapter of round {checkpoint.round} on {checkpoint.versions['base-model']}")
