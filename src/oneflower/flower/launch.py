"""Start Flower's own entry points in this process, with the workarounds that Flower 1.25.0 needs.

``python -m oneflower.flower.launch superlink|supernode|superexec ARGS...`` takes Flower's own flags.
"""

import importlib
import os
import sys
from pathlib import Path

ENTRY_POINTS = {
    "superlink": ("flwr.server.app", "run_superlink"),
    "supernode": ("flwr.supernode.cli", "flower_supernode"),
    "superexec": ("flwr.supercore.cli", "flower_superexec"),
}
USAGE = f"usage: python -m oneflower.flower.launch {'|'.join(ENTRY_POINTS)} ARGS... (Flower's own flags)"


def prepare_environment() -> None:
    """Set what every Flower process needs before flwr is imported."""
    # A black-holed egress would hold each exit for up to 60 s (flwr/common/telemetry.py:276).
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    # Flower starts flower-superexec and flwr-serverapp by name; the environment may not be activated.
    scripts = str(Path(sys.executable).parent)
    if scripts not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join(filter(None, [scripts, os.environ.get("PATH", "")]))


def main(argv: list[str]) -> None:
    """Run one Flower program with its own arguments; exit 2 when the program is not known."""
    if not argv or argv[0] not in ENTRY_POINTS:
        sys.stderr.write(f"no Flower program {' '.join(argv[:1])!r}\n{USAGE}\n")
        sys.exit(2)
    prepare_environment()
    module, function = ENTRY_POINTS[argv[0]]
    sys.argv = [f"flower-{argv[0]}", *argv[1:]]
    getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    main(sys.argv[1:])
