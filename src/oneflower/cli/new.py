"""`oneflower new`: create a small app that runs."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from oneflower.apps_catalogue import write_app


def new(
    name: Annotated[
        str, typer.Argument(help="Name of the app and its new folder: lower case, for example my-app.")
    ],
) -> None:
    """Create a small PyTorch app in a new folder NAME; it runs as it is, on synthetic data.

    Exit code 2 for an invalid name, 7 if NAME already exists or cannot be written. Nothing is overwritten.
    """
    folder = write_app(name, Path())
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    for path in files:
        typer.echo(folder / path)
    shown = shlex.quote(str(folder))
    typer.echo(f"Train it:          oneflower up --app {shown}")
    typer.echo(f"Check it:          oneflower app check {shown}")
    typer.echo(f"Make it your own:  {folder}/README.md says what is where")
