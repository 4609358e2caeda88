"""Read from a process's arguments which Flower program it runs, and with which flags."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

LAUNCHER: Final = "oneflower.flower.launch"
APP_LAUNCHER: Final = "oneflower.stock.launch"
"""The same for a ServerApp's process, in which any app gets checkpoints, resume and checks."""
WARM_EXECUTOR: Final = "warm-executor"
"""The launcher's program that runs a SuperNode's ClientApps; the others are Flower's."""
LOOPS: Final = frozenset({"superlink", "supernode", "superexec", WARM_EXECUTOR})
# Where nothing can be forked, Python tries fork() after vfork(); gRPC ends its threads for it and cannot
# start them again: every later call would wait for ever (grpc, doc/fork_support.md).
GRPC_FORKS: Final = ("GRPC_ENABLE_FORK_SUPPORT", "false")
# A ServerApp's process has the id of its run in this variable; Flower's own flags do not contain it.
RUN_VARIABLE: Final = "ONEFLOWER_RUN"
# An app's token, which opens its AppIo API: every user reads a process's arguments, none its environment.
TOKEN_VARIABLE: Final = "ONEFLOWER_APP_TOKEN"  # noqa: S105 - the name of a variable
# What Flower calls the programs that it starts itself, where the launcher's workarounds are off.
FLOWER_NAMES: Final = {
    "flower-superlink": "superlink",
    "flower-supernode": "supernode",
    "flower-superexec": "superexec",
    "flwr-serverapp": "serverapp",
    "flwr-clientapp": "clientapp",
}


def program_of(command: Sequence[str]) -> str | None:
    """Return which of Flower's programs a process runs, from its arguments; None for any other process."""
    for launcher in (LAUNCHER, APP_LAUNCHER):
        if launcher in command[:-1]:
            return command[command.index(launcher) + 1]
    names = (FLOWER_NAMES.get(Path(part).name) for part in command[:3])
    return next((name for name in names if name), None)


def has_loop(command: Sequence[str]) -> bool:
    """Whether a process's main thread asks for work for as long as it lives, and never rests for minutes."""
    return program_of(command) in LOOPS


def without_token(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Move an app's token from its arguments into variables for its environment."""
    if "--token" not in arguments[:-1]:
        return list(arguments), {}
    at = arguments.index("--token")
    return [*arguments[:at], *arguments[at + 2 :]], {TOKEN_VARIABLE: arguments[at + 1]}


def value_of(flag: str, arguments: Sequence[str]) -> str | None:
    """Return the value of ``--flag value`` or ``--flag=value``, the last one given; None without."""
    found = None
    for index, argument in enumerate(arguments):
        if argument == flag and index + 1 < len(arguments):
            found = arguments[index + 1]
        elif argument.startswith(f"{flag}="):
            found = argument.partition("=")[2]
    return found
