"""What training, simulation and `app check` use of Flower 1.42.0 that has no public name.

Each version's folder has a module `port` with the same names: `tests/flower/test_ports.py` compares them.
"""

import os
import sys
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, Metadata, UserConfig, UserConfigValue
from flwr.app.message.message import make_message
from flwr.cli.build import build_fab_from_files
from flwr.cli.install import install_from_fab
from flwr.clientapp.client_app import LoadClientAppError
from flwr.common.config import (
    flatten_dict,
    get_fab_config,
    get_fused_config_from_dir,
    get_metadata_from_config,
    get_project_config,
    validate_fields_in_config,
)
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode, SType
from flwr.server import server as legacy_server
from flwr.server.client_manager import SimpleClientManager
from flwr.server.run_serverapp import run
from flwr.serverapp import Grid
from flwr.serverapp.server_app import LoadServerAppError
from flwr.supercore import object_ref
from flwr.supercore.constant import NOOP_FEDERATION_ID
from flwr.supercore.logger import FLOWER_LOGGER, update_console_handler
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.supercore.telemetry import EventType

from oneflower.flower.private import PrivateUse, check

__all__ = [
    "FLOWER_LOGGER",
    "NOISE_MODULES",
    "SUPERLINK_NODE_ID",
    "ErrorCode",
    "GrpcGrid",
    "LoadClientAppError",
    "LoadServerAppError",
    "Metadata",
    "Run",
    "SType",
    "SimpleClientManager",
    "UserConfig",
    "UserConfigValue",
    "address",
    "build_fab",
    "flatten_dict",
    "get_fab_config",
    "get_fused_config_from_dir",
    "get_metadata_from_config",
    "get_project_config",
    "identify_server",
    "install_fab",
    "legacy_server",
    "load_app",
    "make_message",
    "new_run",
    "run",
    "set_message_id",
    "set_sender",
    "simulate_with_ray",
    "update_console_handler",
    "validate_fields_in_config",
]
TASK_ID = 1
"""A task that is no task of a SuperLink; Flower's own `run_simulation` takes the same number."""


_loaded: set[str] = set()
"""The folder of the app whose modules this process has imported."""


class GrpcGrid(Grid):
    """No Grid is one of these: that of a 1.42.0 cluster speaks HTTP, and its replies are not pulled by us."""


def load_app(reference: str, error_type: type[Exception], project_dir: str) -> Any:
    """Load an app's object, after the modules of another folder's app were unloaded, as 1.25.0 does it."""
    for folder in _loaded - {project_dir}:
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}"):
                del sys.modules[name]
        sys.path[:] = [entry for entry in sys.path if entry != folder]
        _loaded.discard(folder)
    _loaded.add(project_dir)
    return object_ref.load_app(reference, error_type, project_dir)


def set_message_id(message: Message, message_id: str) -> None:
    """Give a message its id: the hash of its content, as Flower does when it is sent."""
    message.metadata.__dict__["_message_id"] = message_id


def new_run(run_id: int, fab_id: str) -> Run:
    """Return a run with an id and an app (``publisher/name``), and nothing else."""
    created = Run.create_empty(run_id=run_id)
    created.fab_id = fab_id
    return created


def address(message: Message, *, run_id: int, message_id: str) -> None:
    """Fill in what the SuperLink fills in when a ServerApp sends a message."""
    message.metadata.__dict__.update(_run_id=run_id, _src_node_id=SUPERLINK_NODE_ID, _message_id=message_id)


def set_sender(message: Message, node_id: int) -> None:
    """Let a reply come from another node id."""
    message.metadata.__dict__["_src_node_id"] = node_id


def identify_server(run_id: int) -> None:
    """Let this process create messages as a ServerApp: `Message(...)` raises in any other."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = TASK_ID, run_id, SUPERLINK_NODE_ID


def build_fab(files: dict[str, bytes | Path]) -> bytes:
    """Pack files, by their paths in the app; ValueError if the bundle is too large."""
    content, _metadata = build_fab_from_files(files)
    return content


def install_fab(fab: bytes, home: Path) -> Path:
    """Unpack a bundle below the folder where Flower keeps apps; return the app's folder."""
    return install_from_fab(fab, home, skip_prompt=True)


def simulate_with_ray(  # noqa: PLR0913 - what a simulation is made of
    *,
    server: str,
    client: Any,
    folder: Path,
    simulated: Run,
    clients: int,
    context: Context,
    address: str = "",
) -> None:
    """Run an app on Flower's simulation engine; RuntimeError where the app or the engine failed."""
    check(RAY)
    # Imported here: the engine is an extra, and importing Ray costs seconds.
    from flwr.simulation.run_simulation import _run_simulation  # noqa: PLC0415

    identify_server(simulated.run_id)
    simulated.federation_id, simulated.primary_task_id = NOOP_FEDERATION_ID, TASK_ID
    _run_simulation(
        num_supernodes=clients,
        exit_event=EventType.PYTHON_API_RUN_SIMULATION_LEAVE,
        server_app_attr=server,
        client_app=client,
        server_app_context=context,
        app_dir=str(folder),
        backend_config={"init_args": {"address": address}} if address else None,
        run=simulated,
        is_app=True,
    )


NAMES = PrivateUse(
    name="names",
    why="Error codes of replies, the serialisation type of arrays, the type of a run, Flower's logger, the "
    "ids in a message that only Flower sets, and the task that a process is.",
    sources={
        "flwr.common.constant": {
            "ErrorCode": "4889fc3e5b66",
            "SType": "8e395c3827e6",
            "SUPERLINK_NODE_ID": "6b86b273ff34",
        },
        "flwr.supercore.logger": {"FLOWER_LOGGER": "215968944d63"},
        "flwr.supercore.run": {"Run": "2f1566491e6b"},
        "flwr.app.metadata": {"Metadata.__init__": "addaf6f8fb5b"},
        "flwr.app.message.message": {"make_message": "7b10c6528e36"},
        "flwr.supercore.task_identity": {"TaskIdentity": "49ac1df12b14"},
    },
)

BUNDLES = PrivateUse(
    name="app-bundles",
    why="Check, pack and unpack apps in memory. Flower's commands `flwr build` and `flwr install` write "
    "files beside the app and print for people.",
    sources={
        "flwr.cli.build": {"build_fab_from_files": "4c576876bcbb"},
        "flwr.cli.install": {"install_from_fab": "481bd04cde58"},
        "flwr.common.config": {
            "flatten_dict": "a8ae88acf654",
            "get_fab_config": "99a9a8004cd3",
            "get_fused_config_from_dir": "42c760e339fe",
            "get_metadata_from_config": "8da9f8ff1489",
            "get_project_config": "8dd34346adf9",
            "validate_fields_in_config": "ef5c532b88d4",
        },
    },
)

APPS = PrivateUse(
    name="apps",
    why="`oneflower simulate` and `oneflower app check` load an app as Flower does and run it in their own "
    "process. Flower's public `run_simulation` takes no app folder and no run-config.",
    sources={
        "flwr.clientapp.client_app": {"LoadClientAppError": "c2dce8f5e6fb"},
        "flwr.supercore.logger": {"update_console_handler": "637d8d1566d0"},
        "flwr.supercore.object_ref": {"load_app": "ef4c226d0c4f"},
        "flwr.server.run_serverapp": {"run": "a3c8972eda36"},
        "flwr.serverapp.server_app": {"LoadServerAppError": "876b124a6728"},
    },
)

NOISE_MODULES = (
    "flwr.supercore.differential_privacy",
    "flwr.serverapp.strategy.dp_adaptive_clipping",
    "flwr.server.strategy.dp_adaptive_clipping",
    "flwr.server.strategy.dpfedavg_adaptive",
    "flwr.compat.common.dp",
)
"""The modules that draw the noise of differential privacy, from NumPy under the name `np`."""

NOISE = PrivateUse(
    name="privacy-noise",
    why="Give the modules that draw the noise of differential privacy a generator of their own: NumPy's "
    "global one is seeded from FL_SEED, which every client knows. Flower divides by the norm of an update: "
    "that of a client which sends the model back is made more than 0.",
    sources={
        "flwr.supercore.differential_privacy": {"np": "93d3ab501a9c", "get_norm": "11286d7221cb"},
        "flwr.serverapp.strategy.dp_adaptive_clipping": {"np": "44e138066af9"},
        "flwr.server.strategy.dp_adaptive_clipping": {"np": "5fc2617422c5"},
        "flwr.server.strategy.dpfedavg_adaptive": {"np": "8d33056c2116"},
        "flwr.compat.common.dp": {"np": "df9148bea40f"},
    },
    when_used=True,
)

LEGACY = PrivateUse(
    name="legacy-loop",
    why="Sort what Flower's legacy server samples from, and the results that its strategy gets: their order "
    "is that of arrival, and a sum of floats depends on it. Refuse, before it asks a client, to train where "
    "a setting of safety would have no effect: what is raised later is taken for a failure of the client.",
    sources={
        "flwr.server.server": {
            "Server.fit": "bcc13a555092",
            "fit_clients": "672383626486",
            "evaluate_clients": "1d3c6b07023e",
        },
        "flwr.server.client_manager": {
            "SimpleClientManager.sample": "6fba2ea3f702",
            "SimpleClientManager.wait_for": "efa5c72761f2",
            "SimpleClientManager.register": "a8e26f26d5bc",
        },
        "flwr.server.client_proxy": {"ClientProxy.__init__": "c1c9b2b77261"},
    },
)

RAY = PrivateUse(
    name="ray-engine",
    why="`oneflower simulate --engine ray` runs an app on Flower's simulation engine.",
    sources={
        "flwr.supercore.telemetry": {"EventType": "6e4a658a39da"},
        "flwr.simulation.run_simulation": {"_run_simulation": "da43f120d1af"},
        "flwr.supercore.constant": {"NOOP_FEDERATION_ID": "484e9921ad5a"},
    },
    when_used=True,
)
