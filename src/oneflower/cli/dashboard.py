"""`oneflower dashboard`: the live page of a training, and its metrics for Prometheus."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from oneflower.cli.sources import (
    JournalOption,
    PathArgument,
    StateOption,
    awaited,
    missing_extra,
    source_of,
)
from oneflower.errors import SettingsError
from oneflower.foreign_text import printable

TOKEN_VARIABLE = "ONEFLOWER_DASHBOARD_TOKEN"  # noqa: S105 - the name of a variable
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8265


def dashboard(  # noqa: PLR0913 - one parameter an option
    path: PathArgument = None,
    *,
    state: StateOption = None,
    journal: JournalOption = None,
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Address to listen on; any but this machine's needs a token."),
    ] = DEFAULT_HOST,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="0 takes a free one.")
    ] = DEFAULT_PORT,
    token: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            envvar=TOKEN_VARIABLE,
            show_default=False,
            help="What a reader must know, 16 characters or more. On the command line others can read it: "
            "prefer the variable or --token-file.",
        ),
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file whose first line is the token.")
    ] = None,
) -> None:
    """Show a training on a live page: how it goes, who is in trouble, what is saved, what happened.

    It only reads the journal and the checkpoints, so it may be started and ended at any time. /metrics is for
    Prometheus, /report is the report of the moment.
    """
    try:
        from oneflower.monitor.web import access, server  # noqa: PLC0415 - an extra
        from oneflower.monitor.web.live import Live  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("oneflower dashboard", "dashboard", error) from error
    source = source_of(path, state, journal)
    if warning := awaited(path, state, source.journal):
        sys.stderr.write(f"warning: {printable(warning)}\n")
    if any(word == "--token" or word.startswith("--token=") for word in sys.argv):
        sys.stderr.write(
            "warning: every user of this machine can read --token in the process list: use --token-file or "
            f"{TOKEN_VARIABLE}\n"
        )
    secret = _read_token(token_file) if token_file else token
    access.check_access(host, secret)
    listener = server.listen(host, port)
    sys.stdout.write(
        f"The page is at {server.address(listener)} (Ctrl-C ends it; the training does not notice).\n"
    )
    sys.stdout.flush()
    if not secret:
        sys.stdout.write(
            "Every user of this machine can read it; with --token-file, those who have the token.\n"
        )
        sys.stdout.flush()
    live = Live(source.journal, folder=source.checkpoints)
    server.serve(listener, live, access.Token(secret))


def _read_token(file: Path) -> str:
    try:
        token = file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--token-file {file} cannot be read: {error}") from error
    if not token:
        raise SettingsError(f"--token-file {file} has an empty first line: expected the token there")
    if file.stat().st_mode & 0o077:
        sys.stderr.write(f"warning: {file} can be read by other users: chmod 600 {file}\n")
    return token
