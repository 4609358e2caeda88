"""Load an app's ServerApp or ClientApp, run a ServerApp here, run a simulation on Flower's Ray engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oneflower.flower.api import ClientApp, Context, ServerApp
from oneflower.flower.door import port

__all__ = ["load_client_app", "load_server_app", "run_server_app", "set_log_level", "simulate_with_ray"]


def load_client_app(reference: str, folder: Path) -> ClientApp:
    """Import a ClientApp (``module:attribute``) from an app's folder; whatever that raises is raised."""
    app: ClientApp = port.load_app(reference, port.LoadClientAppError, str(folder))
    return app


def load_server_app(reference: str, folder: Path) -> ServerApp:
    """Import a ServerApp (``module:attribute``) from an app's folder; whatever that raises is raised."""
    app: ServerApp = port.load_app(reference, port.LoadServerAppError, str(folder))
    return app


def run_server_app(reference: str, folder: Path, *, grid: Any, context: Context) -> None:
    """Load a ServerApp and run it in this process, as the process of a ServerApp does."""
    port.run(grid=grid, context=context, server_app_dir=str(folder), server_app_attr=reference)


def set_log_level(level: str) -> None:
    """Show log lines of Flower and oneflower from this level on."""
    port.update_console_handler(level=level)


def simulate_with_ray(  # noqa: PLR0913 - what a simulation is made of
    *,
    server: str,
    client: str,
    folder: Path,
    fab_id: str,
    run_id: int,
    clients: int,
    context: Context,
    run_config: Mapping[str, Any],
) -> None:
    """Run an app on Flower's simulation engine.

    Raises
    ------
    RuntimeError
        The app or the engine failed; the cause is in the log only.
    """
    simulated = port.new_run(run_id, fab_id)
    simulated.override_config = dict(run_config)
    port.simulate_with_ray(
        server=server, client=client, folder=folder, simulated=simulated, clients=clients, context=context
    )
