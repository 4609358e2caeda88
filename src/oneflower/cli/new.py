"""`oneflower new`: a small app of your own that already runs."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from oneflower.apps_catalogue import write_app


def new(
    name: Annotated[
        str, typer.Argument(help="Its name, and that of the new folder: lower case, for example my-app.")
    ],
) -> None:
    """Write a small PyTorch app into a new folder NAME; it trains as it is, on data that it draws.

    Exit code 2 for a name that no app can have, 7 where NAME exists already or cannot be written. Nothing
    is ever overwritten.
    """
    folder = write_app(name, Path())
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    for path in files:
        typer.echo(folder / path)
    shown = shlex.quote(str(folder))
    typer.echo(f"Train it:          oneflower up --app {shown}")
    typer.echo(f"Check it:          oneflower app check {shown}")
    typer.echo(f"Make it your own:  {folder}/README.md says what is where")
