"""`oneflower checkpoints export`: a round's model as a file of its framework."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from oneflower.checkpoints import FORMATS, export_model, format_of
from oneflower.cli.checkpoint_options import FolderArgument, FolderOption, RoundArgument, reader_of
from oneflower.cli.recordings import none_in
from oneflower.cli.sources import DEFAULT_CHECKPOINTS, checkpoint_folder
from oneflower.errors import CheckpointError


def export(  # noqa: PLR0913 - each is an option of the command
    number: RoundArgument,
    where: FolderArgument = None,
    *,
    path: FolderOption = DEFAULT_CHECKPOINTS,
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            help="File format; by default that of FILE's ending, else npz.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Output file; by default model_round_N.FORMAT in the current folder.",
            show_default=False,
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL.keras",
            help="For keras and weights.h5: a saved model of the app, whose architecture is used.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Export a round's model for NumPy, PyTorch (weights_only=True), safetensors, Keras or XGBoost.

    The ending of FILE chooses the format. ubj needs a model of XGBoost, keras and weights.h5 need --like.
    """
    form = format_of(output, kind)
    target = output or Path(f"model_round_{number}.{form}")
    folder = checkpoint_folder(where, path)
    reader = reader_of(folder)
    if not reader.rounds():
        raise CheckpointError(f"there is no round to export: {none_in(folder)}")
    arrays = reader.load(number).arrays
    export_model(arrays, target, form, like=like)
    sys.stdout.write(f"{target}\n")
