"""Start the executor from within a SuperNode's process."""

import os
import sys

from oneflower.flower.v1_25.workarounds.client_crash import give_up_running
from oneflower.flower.watch import keep_running

EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - it is what is avoided


def keep_executor_running(listen_address: str) -> None:
    """Run the executor for as long as this process lives, for the API that listens on an address.

    A message that a dead executor had taken is answered for at once.
    """
    host, _, port = listen_address.rpartition(":")
    command = [sys.executable, "-P", "-m", "oneflower.flower.v1_25.warm", "--parent-pid", str(os.getpid())]
    command += ["--clientappio-api-address", f"{EVERY_INTERFACE.get(host, host)}:{port}"]
    keep_running(command, name="warm-executor", on_end=give_up_running)
