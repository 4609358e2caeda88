"""A process that ends does end, and a ServerApp that an exception ends is reported.

The exception is written to the journal and reaches the SuperLink, whatever its class.
"""

import threading
import traceback
from functools import wraps
from pathlib import Path
from typing import Any

import grpc
from flwr.app.exception import AppExitException
from flwr.common import Context
from flwr.common.exit import exit_handler
from flwr.common.exit.exit import flwr_exit
from flwr.server.run_serverapp import run
from flwr.server.serverapp import app
from flwr.serverapp import Grid

from oneflower.errors import OneflowerError
from oneflower.flower.failures import has_ended_well, journal_and_facts, tell_exception, tell_failure
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround
from oneflower.journal import Journal


class AppRaisedError(Exception):
    """Raised in place of an app's exception: Flower reports it to the SuperLink, whatever its cause."""


def allow_second_signal(patch: Patch) -> None:
    """Let the thread that runs the exit handlers run them again from a signal handler."""
    patch(exit_handler, "_lock_handlers", threading.RLock())


def report_failures(patch: Patch) -> None:
    """Write what the app raises to the journal, and hand it on as neither RuntimeError nor SystemExit."""

    @wraps(run)
    def run_and_report(grid: Grid, context: Context, server_app_dir: str, **options: Any) -> Context:
        try:
            return run(grid, context, server_app_dir, **options)
        except grpc.RpcError:
            raise  # the SuperLink has gone: that is no failure of the app
        except OneflowerError as error:
            _report(error, grid, context)
            raise
        except SystemExit as error:
            if _is_flowers(error):
                raise
            if has_ended_well(_journal(context), error):
                return context
            raise AppRaisedError(_report_unknown(error, grid, context, server_app_dir)) from error
        except Exception as error:
            reported = _report_unknown(error, grid, context, server_app_dir)
            if isinstance(error, AppExitException):
                raise  # Flower's own, with an exit code
            raise AppRaisedError(reported) from error

    patch(app, "run_", run_and_report)


def _report(error: OneflowerError, grid: Grid, context: Context) -> None:
    tell_failure(error, context, app=str(grid.run.fab_id))


def _report_unknown(error: BaseException, grid: Grid, context: Context, folder: str) -> str:
    return tell_exception(error, context, folder=Path(folder), app=str(grid.run.fab_id))


def _journal(context: Context) -> Journal | None:
    return journal_and_facts(context.run_config, context.run_id)[0]


def _is_flowers(error: SystemExit) -> bool:
    """Whether Flower ends its process, as its handler of SIGTERM does wherever the app is: exit.py:101."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename == flwr_exit.__code__.co_filename


EXIT_LOCK = Workaround(
    name="exit-lock",
    purpose=Purpose.SAFETY,
    effect="A ServerApp whose run is stopped while it ends waits for itself for ever, and its run stays "
    "`running`.",
    # on_exit joins the heartbeat thread, whose last heartbeat may fail and raise SIGINT; the signal's handler
    # then waits for the lock that its own thread holds.
    cause="deadlock in trigger_exit_handlers: exit_handler.py:57, serverapp/app.py:146, heartbeat.py:157",
    programs=frozenset(Program),
    sources={
        "flwr.common.exit.exit_handler": {
            "_lock_handlers": "bd76663a8932",
            "trigger_exit_handlers": "8ba34de2860b",
            "add_exit_handler": "859d87b16777",
        },
    },
    apply=allow_second_signal,
)

FAILURES = Workaround(
    name="failure-reporting",
    purpose=Purpose.SAFETY,
    effect="A RuntimeError of the app is taken for a run that was refused: its text is lost, nobody is "
    "informed, and the run stays `running` for a minute or for ever. The same after `sys.exit`. With it "
    "every exception that ends the app is in the journal and reaches the SuperLink; `sys.exit(0)` after "
    "the training has finished counts as success.",
    # RuntimeError is what Flower itself raises for a run that was refused. A SystemExit of the app ends the
    # process without a report.
    cause="`except RuntimeError` around the app: server/serverapp/app.py:274",
    programs=frozenset({Program.SERVERAPP}),
    sources={
        "flwr.server.serverapp.app": {"run_": "51ed6bf31352", "run_serverapp": "53c987deab1c"},
        "flwr.server.run_serverapp": {"run": "a3c8972eda36"},
        "flwr.app.exception": {"AppExitException": "095e04928138"},
        "flwr.common.exit.exit": {"flwr_exit": "e83df8f2f810"},
        "flwr.common.typing": {"Run": "884c0789477d"},
    },
    apply=report_failures,
)
