"""A program does not watch the state of its channel: the thread that does may keep it from ending.

Flower writes each state into its debug log, and uses it for nothing else.
"""

from functools import wraps
from typing import Any

from flwr.client.grpc_rere_client import connection
from flwr.server.grid import grpc_grid
from flwr.supercore.superexec import run_superexec
from flwr.supernode.runtime import run_clientapp

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround


def _workaround(program: Program, module: Any, lines: str, fingerprints: tuple[str, str]) -> Workaround:
    def open_unwatched(patch: Patch) -> None:
        patch(module, "create_channel", unwatched(module.create_channel))

    created, logged = fingerprints
    return Workaround(
        name=f"unwatched-channel-of-the-{program}",
        purpose=Purpose.SAFETY,
        effect="A program that has done its work may wait for ever instead of ending, as two or three of a "
        "hundred `flwr` commands do on a busy machine. Each also asks five times a second whether its "
        "channel has changed.",
        # gRPC's thread holds a lock where the interpreter cuts it off, and the channel's __del__ takes it.
        cause=f"a channel's state is watched by a thread of gRPC that is never ended: {lines}",
        programs=frozenset({program}),
        sources={module.__name__: {"create_channel": created, "on_channel_state_change": logged}},
        apply=open_unwatched,
    )


def unwatched(create: Any) -> Any:
    """Return the function that creates a channel, whose channels accept a subscriber and never call it."""

    @wraps(create)
    def create_channel(*args: Any, **kwargs: Any) -> Any:
        channel = create(*args, **kwargs)
        channel.subscribe = _never_told
        return channel

    return create_channel


def _never_told(*_args: object, **_kwargs: object) -> None:
    """Stand in for `grpc.Channel.subscribe`."""


SUPERNODE = _workaround(
    Program.SUPERNODE, connection, "grpc_rere_client/connection.py:159", ("8d230d5e2f6c", "0986462a142b")
)
SUPEREXEC = _workaround(
    Program.SUPEREXEC, run_superexec, "run_superexec.py:92", ("8d230d5e2f6c", "0986462a142b")
)
SERVERAPP = _workaround(Program.SERVERAPP, grpc_grid, "grpc_grid.py:151", ("c73862ab8364", "8648ae072603"))
CLIENTAPP = _workaround(
    Program.CLIENTAPP, run_clientapp, "run_clientapp.py:89", ("8d230d5e2f6c", "0986462a142b")
)
