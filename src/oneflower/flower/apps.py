"""Load an app's ServerApp or ClientApp, run a ServerApp here, run a simulation on Flower's Ray engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oneflower.flower.api import ClientApp, Context, Message, ServerApp
from oneflower.flower.arguments import NAME
from oneflower.flower.calls.call import call_client
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


@dataclass(frozen=True, slots=True)
class _Called:
    """A ClientApp that is called with its seeds and its partition; Ray's processes get a copy of it."""

    app: ClientApp

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer a message; the client has the name that it has in a simulation in one process."""
        context.node_config.setdefault(NAME, f"client-{context.node_config['partition-id']}")
        return call_client(self.app, message, context)


def set_log_level(level: str) -> None:
    """Show log lines of Flower and oneflower from this level on."""
    port.update_console_handler(level=level)


def simulate_with_ray(  # noqa: PLR0913 - what a simulation is made of
    *,
    server: str,
    client: ClientApp,
    folder: Path,
    fab_id: str,
    run_id: int,
    clients: int,
    context: Context,
    run_config: Mapping[str, Any],
    address: str = "",
) -> None:
    """Run an app on Flower's simulation engine, whose processes call its ClientApp as a SuperNode does.

    With an `address` the processes are those of a Ray cluster that runs already.

    Raises
    ------
    RuntimeError
        The app or the engine failed; the cause is in the log only.
    """
    simulated = port.new_run(run_id, fab_id)
    simulated.override_config = dict(run_config)
    port.simulate_with_ray(
        server=server,
        client=_Called(client),
        folder=folder,
        simulated=simulated,
        clients=clients,
        context=context,
        address=address,
    )
