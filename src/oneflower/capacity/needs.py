"""How much memory and disk each program takes in a training of a large model: formulas, fitted.

`benchmarks/large_models.py` prints what was measured beside them, docs/large-models.md has both. They hold
for processes that have nothing else to do: what an app needs for its own training or evaluation comes on top.
All sizes are in bytes; a model counts with the bytes of its arrays.
"""

from dataclasses import dataclass
from typing import Final

MB: Final = 1_000_000
SERVERAPP_BASE: Final = 130 * MB
SUPERLINK_BASE: Final = 130 * MB
SUPERLINK_CLIENT: Final = 45 * MB
"""What the chunks and the database's pages take for each client whose model is on its way."""
SUPERLINK_CLIENTS: Final = 48
"""More of them take no more: calls hold 512 MiB of pieces each way at most, and a copy is made of each."""
SUPERNODE_BASE: Final = 300 * MB
SPARE_REPLIES: Final = 2 << 30
"""What the file of a round's replies leaves free of a disk; with less, replies stay in memory."""
LARGE_MODEL: Final = 64 << 20
LARGE_ROUND: Final = 256 << 20
"""With FL_STREAMING_MEAN=auto updates are summed as they come from this size of a model on, or of all updates
of a round together; below both they are kept until all have come, and cost little."""


def worth_streaming(model_bytes: float, clients: int) -> bool:
    """Return whether the updates of so many clients are too large to lie in memory together."""
    return model_bytes >= LARGE_MODEL or clients * model_bytes >= LARGE_ROUND


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a training asks of its machines.

    Parameters
    ----------
    model_bytes
        The arrays of the model.
    clients
        How many of them train in one round.
    largest_array_bytes
        The largest array; 0 where the model is a single one.
    streaming
        Whether the updates are summed as they come (FL_STREAMING_MEAN), which only means can.
    moments
        How many models of its own a server optimizer keeps: 2 for FedAdam, 0 for FedAvg.
    root
        Whether the server trains an update of its own (FLTrust).
    """

    model_bytes: int
    clients: int
    largest_array_bytes: int = 0
    streaming: bool = True
    moments: int = 0
    root: bool = False

    @property
    def piece_bytes(self) -> int:
        """The largest array."""
        return self.largest_array_bytes or self.model_bytes


def serverapp_bytes(load: Load) -> int:
    """Return the most memory of the ServerApp: in a round, or while it reads a checkpoint."""
    return SERVERAPP_BASE + max(_round_bytes(load), _resume_bytes(load))


def _round_bytes(load: Load) -> int:
    """Return what a round takes: the model that is sent, and sums or replies.

    A checkpoint in the background holds a copy of the optimizer's moments beside those in use.
    """
    if load.streaming:
        models = 3.0 + 2 * load.moments
        return round(models * load.model_bytes) + load.piece_bytes
    models = 3.5 + load.clients + 2 * load.moments + 2 * load.root
    return round(models * load.model_bytes) + load.piece_bytes


def _resume_bytes(load: Load) -> int:
    """Return what reading a checkpoint takes: the app's model, the file, and the arrays out of it."""
    return (3 + 2 * load.moments) * load.model_bytes


def superlink_bytes(load: Load) -> int:
    """Return the most memory of the SuperLink: it holds pieces of messages, and its database has the rest."""
    a_client = min(SUPERLINK_CLIENT, load.model_bytes // 2)
    return SUPERLINK_BASE + min(load.clients, SUPERLINK_CLIENTS) * a_client


def supernode_bytes(load: Load) -> int:
    """Return the most memory of a SuperNode with its executor and its ClientApp, without the app's training.

    The message is in the SuperNode, in the memory that the executor shares with the ClientApp, and in the
    ClientApp itself; and so is the reply. Each child of the warm executor is one client at a time.
    """
    return SUPERNODE_BASE + 4 * load.model_bytes + load.piece_bytes


def growth_bytes(load: Load, *, nodes: int = 0) -> dict[str, int]:
    """Return what the other programs of a server take beyond what they have at their start, by name.

    `nodes` are SuperNodes on the same machine, with their clients.
    """
    grown = {"SuperLink": superlink_bytes(load) - SUPERLINK_BASE}
    if nodes:
        grown[f"{nodes} SuperNodes at work"] = nodes * (supernode_bytes(load) - SUPERNODE_BASE)
    return grown


def database_bytes(load: Load) -> int:
    """Return the most that the SuperLink's database takes on the disk, its log among it.

    Clients are sent the same arrays, which are in it once; every reply is in it until it was taken.
    """
    return round((1 + 1.6 * load.clients) * load.model_bytes) + 20 * MB


def replies_bytes(load: Load) -> int:
    """Return what the file of a round's replies takes, with the app's first model; 0 without streaming."""
    return (1 + load.clients) * load.model_bytes if load.streaming else 0


def checkpoints_bytes(load: Load, *, keep: int, there: int, to_come: int) -> int:
    """Return what checkpoints will take beyond those that are there already.

    Parameters
    ----------
    keep
        FL_CHECKPOINT_KEEP; 0 keeps all. The best round, and the one that is being written, come on top.
    there, to_come
        How many there are, and how many the rest of the training writes.
    """
    more = to_come if keep == 0 else min(to_come, max(1, keep + 2 - there))
    return more * (1 + load.moments) * load.model_bytes
