"""Run an app without a cluster: the same rounds over clients in this process, or over Flower's Ray engine."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from logging import ERROR
from pathlib import Path
from typing import Any, Final

from oneflower.errors import AppError, OneflowerError, SettingsError, TrainingError
from oneflower.flower import apps, bundles
from oneflower.flower.api import Context, RecordDict, log
from oneflower.flower.fab import Fab
from oneflower.flower.failures import has_ended_well, journal_and_facts, tell_exception, tell_failure
from oneflower.lab.localgrid import LocalGrid
from oneflower.stock import hooks

LOCAL: Final = "local"
RAY: Final = "ray"
ENGINES: Final = (LOCAL, RAY)
_RUN_ID: Final = 1


def set_log_level(level: str) -> None:
    """Show Flower's and our log lines from this level on."""
    apps.set_log_level(level)


def check_engine(engine: str, ray_address: str = "") -> None:
    """Raise SettingsError for an engine that does not exist, is not installed, or has no address."""
    if engine not in ENGINES:
        raise SettingsError(f"--engine {engine}: expected one of {', '.join(ENGINES)}")
    if engine == RAY and importlib.util.find_spec("ray") is None:
        raise SettingsError(
            "--engine ray: Flower's Ray engine is not installed. Install oneflower with its extra "
            "`simulation`, or use --engine local"
        )
    if ray_address and engine != RAY:
        raise SettingsError(f"--ray-address {ray_address}: it is for --engine ray; given: {engine}")


def simulate(  # noqa: PLR0913 - what a simulation is made of
    fab: Fab,
    *,
    clients: int,
    run_config: Mapping[str, Any],
    home: Path,
    engine: str = LOCAL,
    ray_address: str = "",
) -> None:
    """Run an app's ServerApp against `clients` simulated clients; client `i` holds partition `i`.

    Parameters
    ----------
    fab : Fab
        The app; it is unpacked below `home`, as a SuperLink does.
    engine : str
        "local": one client after another, in this process. "ray": several worker processes.
    ray_address : str
        Where a Ray cluster runs whose workers are used; without, Ray is started on this machine.

    Raises
    ------
    OneflowerError
        Whatever the app's training raises, AppError for an exception of the app's own; with "ray" a
        TrainingError, for the engine swallows the cause.
    """
    check_engine(engine, ray_address)
    folder = unpack(fab, home)
    context = server_context(folder, run_config)
    run = partial(_simulate_with_ray, address=ray_address) if engine == RAY else _simulate_here
    with hooks.installed():
        run(fab, folder, clients, context)


def unpack(fab: Fab, home: Path) -> Path:
    """Unpack an app below `home`, as a SuperLink does, and return its folder."""
    return bundles.unpack(fab.content, home=home)


def server_context(folder: Path, run_config: Mapping[str, Any]) -> Context:
    """Return what Flower hands to a ServerApp: the app's run-config, and `run_config` over it."""
    return Context(
        run_id=_RUN_ID,
        node_id=0,
        node_config={},
        state=RecordDict(),
        run_config=bundles.unpacked_config(folder, run_config),
    )


def _simulate_here(fab: Fab, folder: Path, clients: int, context: Context) -> None:
    server, client = bundles.unpacked_components(folder)
    with _failures_reported(fab, folder, context):
        client_app = apps.load_client_app(client, folder)
        grid = LocalGrid(client_app, clients=clients, run_config=context.run_config, app=fab.id)
        apps.run_server_app(server, folder, grid=grid, context=context)
        grid.finish()


@contextmanager
def _failures_reported(fab: Fab, folder: Path, context: Context) -> Iterator[None]:
    """Write what the app raises to the journal, as a ServerApp's process does, and raise it as AppError.

    `sys.exit` in an app must not end the simulation with the app's exit code.
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
        reported = tell_exception(error, context, folder=folder, app=fab.id)
        raise AppError(f"{reported}. Fix that and run the same command again") from error


def _simulate_with_ray(fab: Fab, folder: Path, clients: int, context: Context, *, address: str) -> None:
    server, client = bundles.unpacked_components(folder)
    try:
        apps.simulate_with_ray(
            server=server,
            client=apps.load_client_app(client, folder),
            folder=folder,
            fab_id=fab.id,
            run_id=_RUN_ID,
            clients=clients,
            context=context,
            run_config=context.run_config,
            address=address,
        )
    except ConnectionError as error:
        raise SettingsError(f"--ray-address {address}: no Ray cluster answers there: {error}") from error
    except RuntimeError as error:
        raise TrainingError(f"Flower's Ray engine ended: {error}. Its messages above say why") from error
