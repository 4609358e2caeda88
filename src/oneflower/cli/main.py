"""The `oneflower` command: one thin module per subcommand, one place where errors become exit codes."""

import os
import signal
import sys
from typing import Annotated

import click
import typer
import typer.core

from oneflower.cli.commands import LazyGroup
from oneflower.errors import OneflowerError
from oneflower.flower.programs import GRPC_FORKS
from oneflower.foreign_text import continued
from oneflower.output import escaping_output

INTERRUPTED = 130

# The help is plain text, but with Rich installed Typer would escape the brackets of "[required]" for it.
typer.core.HAS_RICH = False

app = typer.Typer(
    name="oneflower",
    cls=LazyGroup,
    help="Federated learning on OpenNebula, configured by FL_* variables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 done, 1 unexpected, 2 configuration, 3 checkpoint, 4 cluster, 5 app, "
    "6 training, 7 state folder, 8 problem of a VM, 130 interrupted.",
)


def _print_version(*, value: bool) -> None:
    if value:
        from oneflower import __version__  # noqa: PLC0415

        sys.stdout.write(f"oneflower {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Federated learning on OpenNebula, configured by FL_* variables."""


def main() -> None:
    """Run the command line and turn an error into its message and exit code."""
    os.environ.setdefault(*GRPC_FORKS)
    escaping_output()
    try:
        code = app(standalone_mode=False) or 0
    except OneflowerError as error:
        from rich.console import Console  # noqa: PLC0415 - most commands end without an error

        Console(stderr=True, soft_wrap=True).print(
            f"error: {continued(str(error))}", style="red", markup=False, highlight=False
        )
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.exceptions.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        # Python restores the default handlers while it ends: a late signal would change the exit code.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    main()
