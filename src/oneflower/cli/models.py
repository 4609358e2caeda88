"""`oneflower models`: fetch language models into the cache folder."""

from enum import StrEnum

import typer

from oneflower.language_models import smollm2

app = typer.Typer(help="Fetch base models for the llm-fine-tuning app.", no_args_is_help=True)


class Name(StrEnum):
    """The models that oneflower can fetch."""

    SMOLLM2 = "smollm2-135m"


@app.callback()
def root() -> None:
    """Fetch base models for the llm-fine-tuning app."""


@app.command()
def fetch(name: Name) -> None:
    """Download a model and convert it into the cache folder, unless it is there."""
    del name  # there is only one model
    typer.echo(str(smollm2.fetch(lambda line: typer.echo(line, err=True))))
