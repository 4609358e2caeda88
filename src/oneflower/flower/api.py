"""Flower's API for the rest of oneflower: imported here alone, after the version was checked.

Everything under `oneflower` takes Flower's names from this module. Only it and the folder of the installed
version import `flwr`; `tests/flower/test_private_use.py` holds that.
"""

# isort: off
from oneflower.flower.door import port  # first: it checks the version

import grpc
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.common import log
from flwr.serverapp import Grid, ServerApp, strategy
from flwr.serverapp.strategy import Result

# isort: on

ErrorCode = port.ErrorCode
SType = port.SType
Run = port.Run
UserConfig = port.UserConfig
UserConfigValue = port.UserConfigValue
GrpcGrid = port.GrpcGrid
Metadata = port.Metadata
FLOWER_LOGGER = port.FLOWER_LOGGER

__all__ = [
    "FLOWER_LOGGER",
    "Array",
    "ArrayRecord",
    "ClientApp",
    "ConfigRecord",
    "Context",
    "Error",
    "ErrorCode",
    "Grid",
    "GrpcGrid",
    "Message",
    "MessageType",
    "Metadata",
    "MetricRecord",
    "RecordDict",
    "Result",
    "Run",
    "SType",
    "ServerApp",
    "UserConfig",
    "UserConfigValue",
    "grpc",
    "log",
    "strategy",
]
