"""Constants, types and the addressing of messages that Flower has no public name for."""

from flwr.app import Message
from flwr.app.metadata import Metadata
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode, SType
from flwr.common.logger import FLOWER_LOGGER
from flwr.common.typing import Run, UserConfig, UserConfigValue
from flwr.server.grid.grpc_grid import GrpcGrid

from oneflower.flower.v1_25.private import PrivateUse

__all__ = [
    "FLOWER_LOGGER",
    "ErrorCode",
    "GrpcGrid",
    "Metadata",
    "Run",
    "SType",
    "UserConfig",
    "UserConfigValue",
    "address",
    "new_run",
    "set_message_id",
    "set_sender",
]


def set_message_id(message: Message, message_id: str) -> None:
    """Give a message its id: the hash of its content, as Flower does when it is sent."""
    message.metadata.__dict__["_message_id"] = message_id


def new_run(run_id: int, fab_id: str) -> Run:
    """Return a run with an id and an app (``publisher/name``), and nothing else."""
    run = Run.create_empty(run_id=run_id)
    run.fab_id = fab_id
    return run


def address(message: Message, *, run_id: int, message_id: str) -> None:
    """Fill in what the SuperLink fills in when a ServerApp sends a message."""
    message.metadata.__dict__.update(_run_id=run_id, _src_node_id=SUPERLINK_NODE_ID, _message_id=message_id)


def set_sender(message: Message, node_id: int) -> None:
    """Let a reply come from another node id."""
    message.metadata.__dict__["_src_node_id"] = node_id


USE = PrivateUse(
    name="names",
    why="Error codes of replies, the serialisation type of arrays, the type of a run and of its "
    "configuration, the Grid of a real cluster, Flower's logger, and the ids in a message that only Flower "
    "sets.",
    sources={
        "flwr.common.constant": {
            "ErrorCode": "4889fc3e5b66",
            "SType": "8e395c3827e6",
            "SUPERLINK_NODE_ID": "6b86b273ff34",
        },
        "flwr.common.logger": {"FLOWER_LOGGER": "b8b6e49f9d75"},
        "flwr.common.typing": {
            "Run": "884c0789477d",
            "UserConfig": "c4d07da2da76",
            "UserConfigValue": "e9b51b57f9a1",
        },
        "flwr.server.grid.grpc_grid": {"GrpcGrid.__init__": "56e3e411568f"},
        "flwr.app.metadata": {"Metadata.__init__": "6fbabfdad31b"},
    },
)
