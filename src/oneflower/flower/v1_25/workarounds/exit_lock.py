"""A ServerApp that is told to stop while it is stopping does stop."""

import threading

from flwr.common.exit import exit_handler

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Workaround


def apply(patch: Patch) -> None:
    """Let the thread that runs the exit handlers run them again from a signal handler."""
    patch(exit_handler, "_lock_handlers", threading.RLock())


WORKAROUND = Workaround(
    name="exit-lock",
    # on_exit joins the heartbeat thread, whose last heartbeat may fail and raise SIGINT; the signal's handler
    # then waits for the lock that its own thread holds, and the run stays `running` for ever.
    defect="deadlock in trigger_exit_handlers: exit_handler.py:57, serverapp/app.py:146, heartbeat.py:157",
    programs=frozenset(Program),
    sources={
        "flwr.common.exit.exit_handler": {
            "trigger_exit_handlers": "8ba34de2860b",
            "add_exit_handler": "859d87b16777",
        },
    },
    apply=apply,
)
