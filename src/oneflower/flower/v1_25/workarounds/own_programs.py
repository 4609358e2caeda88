"""The programs that Flower starts by name are started through our launcher, and restarted where they end."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from flwr.server import app as superlink
from flwr.supercore.superexec.plugin import base_exec_plugin
from flwr.supernode import start_client_internal

from oneflower.flower.private import Sources
from oneflower.flower.programs import APP_LAUNCHER, LAUNCHER, RUN_VARIABLE, without_token
from oneflower.flower.v1_25.workarounds import client_crash
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround
from oneflower.flower.watch import keep_running

Apply = Callable[[Patch], object]

OURS = {
    "flower-superexec": Program.SUPEREXEC,
    "flwr-serverapp": Program.SERVERAPP,
    "flwr-clientapp": Program.CLIENTAPP,
}


class Launching:
    """Replaces the module `subprocess` where Flower calls `Popen` only, and uses no result of it."""

    @staticmethod
    def Popen(command: Sequence[str]) -> object:  # noqa: N802 - the name that Flower calls
        """Start a program through the launcher; superexec is watched and restarted."""
        if command[0] == "flower-superexec":
            return keep_running(launched(command), name=command[0], on_end=client_crash.give_up_running)
        if command[0] not in OURS:
            return subprocess.Popen(command)
        arguments, secret = without_token(launched(command))
        return subprocess.Popen(arguments, env={**os.environ, **secret})


def launched(command: Sequence[str]) -> list[str]:
    """Return the command that starts the same program through the launcher."""
    name, *arguments = command
    if name not in OURS:
        return list(command)
    # -P: a folder that happens to be the current one must not provide modules.
    launcher = APP_LAUNCHER if OURS[name] is Program.SERVERAPP else LAUNCHER
    return [sys.executable, "-P", "-m", launcher, OURS[name], *arguments]


def name_run(patch: Patch) -> None:
    """Start the app through the launcher, with the id of its run in the environment (`ONEFLOWER_RUN`)."""
    plugin = base_exec_plugin.BaseExecPlugin
    launch = plugin.launch_app

    @wraps(launch)
    def launch_app(self: Any, token: str, run_id: int) -> None:
        os.environ[RUN_VARIABLE] = str(run_id)
        launch(self, token, run_id)

    patch(base_exec_plugin, "subprocess", Launching)
    patch(plugin, "launch_app", launch_app)


def _workaround(program: Program, effect: str, cause: str, sources: Sources, apply: Apply) -> Workaround:
    return Workaround(
        name=f"own-programs-of-the-{program}",
        purpose=Purpose.SAFETY,
        effect=effect,
        cause=f"a program is started by name, and its end is not noticed: {cause}",
        programs=frozenset({program}),
        sources=sources,
        apply=apply,
    )


SUPERLINK = _workaround(
    Program.SUPERLINK,
    "`flower-superexec` is started without these workarounds, and never started again where it died: runs "
    "stay pending.",
    "server/app.py:448",
    {"flwr.server.app": {"subprocess": "0267d44ec48e", "run_superlink": "b0d9e3727e0c"}},
    lambda patch: patch(superlink, "subprocess", Launching),
)
SUPERNODE = _workaround(
    Program.SUPERNODE,
    "`flower-superexec` is started without these workarounds, and never started again where it died: "
    "messages are never processed.",
    "start_client_internal.py:219",
    {
        "flwr.supernode.start_client_internal": {
            "subprocess": "e7334173a4e2",
            "start_client_internal": "50313decfb88",
        }
    },
    lambda patch: patch(start_client_internal, "subprocess", Launching),
)
SUPEREXEC = _workaround(
    Program.SUPEREXEC,
    "`flwr-serverapp` and `flwr-clientapp` are started without these workarounds, and every user of the "
    "machine can read their token in the process list. With it the token is in their environment, and so is "
    "the id of the run (`ONEFLOWER_RUN`).",
    "base_exec_plugin.py:52",
    {
        "flwr.supercore.superexec.plugin.base_exec_plugin": {
            "subprocess": "6fe051ad0bae",
            "BaseExecPlugin.launch_app": "7714114804df",
        }
    },
    name_run,
)
