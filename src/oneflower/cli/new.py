"""`oneflower new`: create a small app that runs."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from oneflower.apps_catalogue import STARTERS, write_app


def new(
    name: Annotated[
        str, typer.Argument(help="Name of the app and its new folder: lower case, for example my-app.")
    ],
    *,
    framework: Annotated[
        str, typer.Option(metavar="|".join(STARTERS), help="What the app is written in.")
    ] = "pytorch",
) -> None:
    """Create a small app in a new folder NAME; it runs as it is, on synthetic data.

    The one in PyTorch uses oneflower's helpers; the others are stock Flower apps, with no line of oneflower.

    Exit code 2 for an invalid name or framework, 7 if NAME already exists or cannot be written. Nothing is
    overwritten.
    """
    folder = write_app(name, Path(), framework)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    for path in files:
        typer.echo(folder / path)
    shown = shlex.quote(str(folder))
    typer.echo(f"Train it:          oneflower up --app {shown}")
    typer.echo(f"Check it:          oneflower app check {shown}")
    typer.echo(f"Make it your own:  {folder}/README.md says what is where")
