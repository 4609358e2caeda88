"""Load an app's ServerApp or ClientApp, run a ServerApp here, run a simulation on Flower's Ray engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.clientapp import ClientApp
from flwr.clientapp.client_app import LoadClientAppError
from flwr.common import Context
from flwr.common.logger import update_console_handler
from flwr.common.object_ref import load_app
from flwr.common.telemetry import EventType
from flwr.common.typing import Run
from flwr.server.run_serverapp import run
from flwr.server.server_app import LoadServerAppError
from flwr.serverapp import ServerApp
from flwr.supercore.constant import NOOP_FEDERATION

from oneflower.flower.v1_25.private import PrivateUse, check

__all__ = ["load_client_app", "load_server_app", "run_server_app", "set_log_level", "simulate_with_ray"]


def load_client_app(reference: str, folder: Path) -> ClientApp:
    """Import a ClientApp (``module:attribute``) from an app's folder; whatever that raises is raised."""
    app: ClientApp = load_app(reference, LoadClientAppError, str(folder))
    return app


def load_server_app(reference: str, folder: Path) -> ServerApp:
    """Import a ServerApp (``module:attribute``) from an app's folder; whatever that raises is raised."""
    app: ServerApp = load_app(reference, LoadServerAppError, str(folder))
    return app


def run_server_app(reference: str, folder: Path, *, grid: Any, context: Context) -> None:
    """Load a ServerApp and run it in this process, as the process of a ServerApp does."""
    run(grid=grid, context=context, server_app_dir=str(folder), server_app_attr=reference)


def set_log_level(level: str) -> None:
    """Show log lines of Flower and oneflower from this level on."""
    update_console_handler(level=level)


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
    check(RAY)
    # Imported here: the engine is an extra, and importing Ray costs seconds.
    from flwr.simulation.run_simulation import _run_simulation  # noqa: PLC0415

    simulated = Run.create_empty(run_id)
    simulated.federation = NOOP_FEDERATION
    simulated.fab_id, simulated.override_config = fab_id, dict(run_config)
    _run_simulation(
        num_supernodes=clients,
        exit_event=EventType.PYTHON_API_RUN_SIMULATION_LEAVE,
        server_app_attr=server,
        client_app_attr=client,
        server_app_context=context,
        app_dir=str(folder),
        run=simulated,
        is_app=True,
    )


USE = PrivateUse(
    name="apps",
    why="`oneflower simulate` and `oneflower app check` load an app as Flower does and run it in their own "
    "process. Flower's public `run_simulation` takes no app folder and no run-config.",
    sources={
        "flwr.clientapp.client_app": {"LoadClientAppError": "c2dce8f5e6fb"},
        "flwr.common.logger": {"update_console_handler": "637d8d1566d0"},
        "flwr.common.object_ref": {"load_app": "c8a21ee9a3d5"},
        "flwr.server.run_serverapp": {"run": "a3c8972eda36"},
        "flwr.server.server_app": {"LoadServerAppError": "876b124a6728"},
    },
)

RAY = PrivateUse(
    name="ray-engine",
    why="`oneflower simulate --engine ray` runs an app on Flower's simulation engine.",
    sources={
        "flwr.common.telemetry": {"EventType": "fc8430d6a4ca"},
        "flwr.common.typing": {"Run": "884c0789477d"},
        "flwr.simulation.run_simulation": {"_run_simulation": "1cd2f6775704"},
        "flwr.supercore.constant": {"NOOP_FEDERATION": "37a8eec1ce19"},
    },
    when_used=True,
)
