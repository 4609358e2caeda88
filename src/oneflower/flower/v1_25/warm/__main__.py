"""``python -m oneflower.flower.v1_25.warm``: a SuperNode's executor, for ``--isolation process``."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from oneflower.flower.watch import die_with_parent, look_after_parent
from oneflower.output import steady_output


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and serve the SuperNode."""
    parser = argparse.ArgumentParser(prog="python -m oneflower.flower.v1_25.warm", description=__doc__)
    parser.add_argument("--clientappio-api-address", default="127.0.0.1:9094", help="of the SuperNode")
    parser.add_argument("--flwr-dir", type=Path, help="where apps are installed; FLWR_HOME by default")
    parser.add_argument("--parent-pid", type=int, help="the process that this one dies with")
    arguments = parser.parse_args(argv)
    steady_output()
    if arguments.parent_pid is not None:
        die_with_parent(arguments.parent_pid)
        look_after_parent(arguments.parent_pid)
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    from flwr.common.config import get_flwr_dir  # noqa: PLC0415 - after the environment is prepared

    from oneflower.flower.v1_25.warm.executor import Executor  # noqa: PLC0415 - the same

    Executor(arguments.clientappio_api_address, get_flwr_dir(arguments.flwr_dir)).serve()


if __name__ == "__main__":
    main()
