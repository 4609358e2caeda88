"""An exception that ends a ServerApp is told: in the journal, and to the SuperLink."""

import traceback
from functools import wraps
from pathlib import Path
from typing import Any

import grpc
from flwr.app.exception import AppExitException
from flwr.common import Context
from flwr.common.exit import flwr_exit
from flwr.server import Grid
from flwr.server.run_serverapp import run
from flwr.server.serverapp import app

from oneflower.errors import OneflowerError
from oneflower.flower.failures import has_ended_well, journal_and_facts, tell_exception, tell_failure
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Workaround
from oneflower.journal import Journal


class AppRaisedError(Exception):
    """Stands for an exception of the app's; Flower tells the SuperLink of it, whatever it stands for."""


def apply(patch: Patch) -> None:
    """Write down what the app raises, and hand it on as no RuntimeError and no SystemExit."""

    @wraps(run)
    def run_and_tell(grid: Grid, context: Context, server_app_dir: str, **options: Any) -> Context:
        try:
            return run(grid, context, server_app_dir, **options)
        except grpc.RpcError:
            raise  # the SuperLink has gone: that is no failure of the app
        except OneflowerError as error:
            _tell(error, grid, context)
            raise
        except SystemExit as error:
            if _is_flowers(error):
                raise
            if has_ended_well(_journal(context), error):
                return context
            raise AppRaisedError(_tell_unknown(error, grid, context, server_app_dir)) from error
        except Exception as error:
            told = _tell_unknown(error, grid, context, server_app_dir)
            if isinstance(error, AppExitException):
                raise  # Flower's own, with an exit code
            raise AppRaisedError(told) from error

    patch(app, "run_", run_and_tell)


def _tell(error: OneflowerError, grid: Grid, context: Context) -> None:
    tell_failure(error, context, app=str(grid.run.fab_id))


def _tell_unknown(error: BaseException, grid: Grid, context: Context, folder: str) -> str:
    return tell_exception(error, context, folder=Path(folder), app=str(grid.run.fab_id))


def _journal(context: Context) -> Journal | None:
    return journal_and_facts(context.run_config, context.run_id)[0]


def _is_flowers(error: SystemExit) -> bool:
    """Whether Flower ends its process, as its handler of SIGTERM does wherever the app is: exit.py:101."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename == flwr_exit.__code__.co_filename


WORKAROUND = Workaround(
    name="told-failures",
    # RuntimeError is what Flower itself raises for a run that was refused, and takes an app's own for: its
    # text is dropped, the SuperLink is told nothing, the run stays `running` for a minute, or for ever.
    # A SystemExit of the app ends the process in the same silence.
    defect="a RuntimeError of the app is swallowed: server/serverapp/app.py:274",
    programs=frozenset({Program.SERVERAPP}),
    sources={
        "flwr.server.serverapp.app": {"run_serverapp": "53c987deab1c"},
        "flwr.server.run_serverapp": {"run": "a3c8972eda36"},
    },
    apply=apply,
)
