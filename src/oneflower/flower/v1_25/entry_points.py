"""Flower's programs: the function behind each command, and what oneflower knows of their command lines."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from oneflower.flower.private import PrivateUse, check

WHY = (
    "The launcher calls this program in its own process, to apply the workarounds first. Flower documents "
    "only the command."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """A function without arguments, and the name of the command that calls it."""

    module: str
    function: str
    command: str
    use: PrivateUse

    def load(self) -> Callable[[], object]:
        """Check the function's fingerprint and import it."""
        check(self.use)
        found: Callable[[], object] = getattr(importlib.import_module(self.module), self.function)
        return found


def _entry_point(module: str, function: str, command: str, *, source: str, **others: str) -> EntryPoint:
    use = PrivateUse(name=command, why=WHY, sources={module: {function: source, **others}}, when_used=True)
    return EntryPoint(module=module, function=function, command=command, use=use)


ENTRY_POINTS: Final = {
    "superlink": _entry_point("flwr.server.app", "run_superlink", "flower-superlink", source="b0d9e3727e0c"),
    "supernode": _entry_point(
        "flwr.supernode.cli.flower_supernode",
        "flower_supernode",
        "flower-supernode",
        source="e81fab58660d",
        _parse_args_run_supernode="fb2191dd7501",
    ),
    "superexec": _entry_point(
        "flwr.supercore.cli.flower_superexec",
        "flower_superexec",
        "flower-superexec",
        source="127e7c758bcc",
    ),
    "serverapp": _entry_point(
        "flwr.server.serverapp.app", "flwr_serverapp", "flwr-serverapp", source="a86b89377364"
    ),
    "clientapp": _entry_point(
        "flwr.supernode.cli.flwr_clientapp", "flwr_clientapp", "flwr-clientapp", source="197b47b58597"
    ),
}
USES: Final = tuple(point.use for point in ENTRY_POINTS.values())

COMMAND_LINES = PrivateUse(
    name="command-lines",
    why="`launch.py` fills in the addresses that Flower would open on every interface. `arguments.py` "
    "writes node configurations in the syntax that Flower reads. The supervisor finds processes by the "
    "ports that Flower uses where none is given.",
    sources={
        "flwr.common.config": {"parse_config_args": "fcc0c7cb27cd"},
        "flwr.common.constant": {
            "CLIENTAPPIO_API_DEFAULT_SERVER_ADDRESS": "8b783bd90bba",
            "CONTROL_API_PORT": "3be426e88ba6",
            "SERVERAPPIO_API_DEFAULT_SERVER_ADDRESS": "8448e17cf22a",
            "SERVERAPPIO_PORT": "9e558a7dc777",
            "SIMULATIONIO_API_DEFAULT_SERVER_ADDRESS": "3bd0f449fb76",
        },
    },
)
