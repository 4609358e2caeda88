"""Run an app without a cluster: the same rounds over clients in this process, or over Flower's Ray engine."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from logging import ERROR
from pathlib import Path
from typing import Any, Final

from flwr.cli.install import install_from_fab
from flwr.clientapp.client_app import LoadClientAppError
from flwr.common import Context, RecordDict, log
from flwr.common.config import get_fused_config_from_dir, get_project_config, get_project_dir
from flwr.common.logger import update_console_handler
from flwr.common.object_ref import load_app
from flwr.common.telemetry import EventType
from flwr.common.typing import Run
from flwr.server.run_serverapp import run as run_serverapp
from flwr.supercore.constant import NOOP_FEDERATION

from oneflower.errors import AppError, OneflowerError, SettingsError, TrainingError
from oneflower.flower.fab import Fab
from oneflower.flower.failures import has_ended_well, journal_and_facts, tell_exception, tell_failure
from oneflower.lab.localgrid import LocalGrid

LOCAL: Final = "local"
RAY: Final = "ray"
ENGINES: Final = (LOCAL, RAY)
_RUN_ID: Final = 1


def set_log_level(level: str) -> None:
    """Show Flower's and our log lines from this level on."""
    update_console_handler(level=level)


def check_engine(engine: str) -> None:
    """Raise SettingsError for an engine that does not exist or is not installed."""
    if engine not in ENGINES:
        raise SettingsError(f"--engine {engine}: expected one of {', '.join(ENGINES)}")
    if engine == RAY and importlib.util.find_spec("ray") is None:
        raise SettingsError(
            "--engine ray: Flower's Ray engine is not installed. Install oneflower with its extra "
            "`simulation`, or say --engine local"
        )


def simulate(
    fab: Fab, *, clients: int, run_config: Mapping[str, Any], home: Path, engine: str = LOCAL
) -> None:
    """Run an app's ServerApp against `clients` simulated clients; client `i` holds partition `i`.

    Parameters
    ----------
    fab : Fab
        The app; it is unpacked below `home`, as a SuperLink does.
    engine : str
        "local": one client after another, in this process. "ray": several worker processes.

    Raises
    ------
    OneflowerError
        Whatever the app's training raises, AppError for an exception of the app's own; with "ray" a
        TrainingError, for the engine swallows the cause.
    """
    check_engine(engine)
    folder = unpack(fab, home)
    context = server_context(folder, run_config)
    run = _simulate_with_ray if engine == RAY else _simulate_here
    run(fab, folder, clients, context)


def unpack(fab: Fab, home: Path) -> Path:
    """Unpack an app below `home`, as a SuperLink does, and return its folder."""
    with redirect_stdout(StringIO()):  # Flower prints where it has unpacked it
        install_from_fab(fab.content, home, skip_prompt=True)
    return get_project_dir(fab.id, fab.version, fab.hash, home)


def server_context(folder: Path, run_config: Mapping[str, Any]) -> Context:
    """Return what Flower hands to a ServerApp: the app's run-config, and `run_config` over it."""
    return Context(
        run_id=_RUN_ID,
        node_id=0,
        node_config={},
        state=RecordDict(),
        run_config=get_fused_config_from_dir(folder, dict(run_config)),
    )


def components(folder: Path) -> tuple[str, str]:
    """Return the references of an unpacked app's (serverapp, clientapp)."""
    parts = get_project_config(folder)["tool"]["flwr"]["app"]["components"]
    return parts["serverapp"], parts["clientapp"]


def _simulate_here(fab: Fab, folder: Path, clients: int, context: Context) -> None:
    server, client = components(folder)
    with _told(fab, folder, context):
        client_app = load_app(client, LoadClientAppError, str(folder))
        grid = LocalGrid(client_app, clients=clients, run_config=context.run_config, app=fab.id)
        run_serverapp(grid=grid, context=context, server_app_dir=str(folder), server_app_attr=server)


@contextmanager
def _told(fab: Fab, folder: Path, context: Context) -> Iterator[None]:
    """Write down what the app raises, as a ServerApp's process does, and raise it as AppError.

    `sys.exit` in an app must not end the simulation with an exit code of the app's own.
    """
    try:
        yield
    except OneflowerError as error:
        tell_failure(error, context, app=fab.id)
        raise
    except (Exception, SystemExit) as error:
        journal, _ = journal_and_facts(context.run_config, context.run_id)
        if isinstance(error, SystemExit) and has_ended_well(journal, error):
            return
        log(ERROR, "The app raised an exception", exc_info=error)
        told = tell_exception(error, context, folder=folder, app=fab.id)
        raise AppError(f"{told}. Mend that and run the same command again") from error


def _simulate_with_ray(fab: Fab, folder: Path, clients: int, context: Context) -> None:
    # Imported here: the engine is an extra, and importing Ray costs seconds.
    from flwr.simulation.run_simulation import _run_simulation  # noqa: PLC0415

    server, client = components(folder)
    run = Run.create_empty(_RUN_ID)
    run.federation = NOOP_FEDERATION
    run.fab_id, run.override_config = fab.id, dict(context.run_config)
    try:
        _run_simulation(
            num_supernodes=clients,
            exit_event=EventType.PYTHON_API_RUN_SIMULATION_LEAVE,
            server_app_attr=server,
            client_app_attr=client,
            server_app_context=context,
            app_dir=str(folder),
            run=run,
            is_app=True,
        )
    except RuntimeError as error:
        raise TrainingError(f"Flower's Ray engine ended: {error}. Its messages above say why") from error
