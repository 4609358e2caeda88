"""The programs that Flower starts by name are started through our launcher too."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import wraps
from types import ModuleType
from typing import Any

from flwr.server import app as superlink
from flwr.supercore.superexec.plugin import base_exec_plugin
from flwr.supernode import start_client_internal

from oneflower.flower.programs import RUN_VARIABLE
from oneflower.flower.v1_25.workarounds import client_crash
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Workaround
from oneflower.flower.watch import keep_running

OURS = {
    "flower-superexec": Program.SUPEREXEC,
    "flwr-serverapp": Program.SERVERAPP,
    "flwr-clientapp": Program.CLIENTAPP,
}


class Launching:
    """Stands in for the module `subprocess` where Flower uses its `Popen` only, and no result of it."""

    @staticmethod
    def Popen(command: Sequence[str]) -> object:  # noqa: N802 - the name that Flower calls
        """Start a program, ours in the place of Flower's; superexec is watched and started again."""
        if command[0] == "flower-superexec":
            return keep_running(launched(command), name=command[0], on_end=client_crash.give_up_running)
        return subprocess.Popen(launched(command))


def launched(command: Sequence[str]) -> list[str]:
    """Return the command that starts the same program through the launcher."""
    name, *arguments = command
    if name not in OURS:
        return list(command)
    # -P: a folder that happens to be the current one must not provide modules.
    return [sys.executable, "-P", "-m", "oneflower.flower.launch", OURS[name], *arguments]


def apply_superexec(patch: Patch) -> None:
    """Start the app through the launcher, with its run in the environment: a process says whose it is."""
    plugin = base_exec_plugin.BaseExecPlugin
    launch = plugin.launch_app

    @wraps(launch)
    def launch_app(self: Any, token: str, run_id: int) -> None:
        os.environ[RUN_VARIABLE] = str(run_id)
        launch(self, token, run_id)

    patch(base_exec_plugin, "subprocess", Launching)
    patch(plugin, "launch_app", launch_app)


def _workaround(program: Program, module: ModuleType, sources: dict[str, dict[str, str]]) -> Workaround:
    return Workaround(
        name=f"own-programs-of-the-{program}",
        # A superexec that died is never started again: runs stay pending, messages are never processed.
        defect="a program started by name has none of these workarounds and is not watched: "
        "server/app.py:448, start_client_internal.py:219, base_exec_plugin.py:52",
        programs=frozenset({program}),
        sources=sources,
        apply=lambda patch: patch(module, "subprocess", Launching),
    )


SUPERLINK = _workaround(Program.SUPERLINK, superlink, {"flwr.server.app": {"run_superlink": "b0d9e3727e0c"}})
SUPERNODE = _workaround(
    Program.SUPERNODE,
    start_client_internal,
    {"flwr.supernode.start_client_internal": {"start_client_internal": "50313decfb88"}},
)
SUPEREXEC = replace(
    _workaround(
        Program.SUPEREXEC,
        base_exec_plugin,
        {"flwr.supercore.superexec.plugin.base_exec_plugin": {"BaseExecPlugin.launch_app": "7714114804df"}},
    ),
    apply=apply_superexec,
)
