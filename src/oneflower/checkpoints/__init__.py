"""The crash-safe checkpoint store; independent of Flower."""

from oneflower.checkpoints.background import BackgroundWriter
from oneflower.checkpoints.comparison import ArrayChange, compare
from oneflower.checkpoints.export import FORMATS, export_model, format_of
from oneflower.checkpoints.folder import close_checkpoints
from oneflower.checkpoints.manifest import SCHEMA, Manifest
from oneflower.checkpoints.metrics import Metric, loadable, normalised
from oneflower.checkpoints.model import (
    FORM_CHANGED,
    Checkpoint,
    Metrics,
    ModelSchema,
    Resumption,
    Saved,
    adopt,
)
from oneflower.checkpoints.names import HISTORY
from oneflower.checkpoints.npz import check_storable, model_digest
from oneflower.checkpoints.reader import CheckpointInfo, CheckpointReader, MissingRoundError
from oneflower.checkpoints.retention import (
    KeepAll,
    KeepEvery,
    KeepNewest,
    KeepUnion,
    Retention,
    retention_of,
)
from oneflower.checkpoints.sign_folder import sign_folder
from oneflower.checkpoints.signing import MEMORY, Signer, remembered_training
from oneflower.checkpoints.store import CheckpointStore
from oneflower.errors import ForeignError

__all__ = [
    "FORMATS",
    "FORM_CHANGED",
    "HISTORY",
    "MEMORY",
    "SCHEMA",
    "ArrayChange",
    "BackgroundWriter",
    "Checkpoint",
    "CheckpointInfo",
    "CheckpointReader",
    "CheckpointStore",
    "ForeignError",
    "KeepAll",
    "KeepEvery",
    "KeepNewest",
    "KeepUnion",
    "Manifest",
    "Metric",
    "Metrics",
    "MissingRoundError",
    "ModelSchema",
    "Resumption",
    "Retention",
    "Saved",
    "Signer",
    "adopt",
    "check_storable",
    "close_checkpoints",
    "compare",
    "export_model",
    "format_of",
    "loadable",
    "model_digest",
    "normalised",
    "remembered_training",
    "retention_of",
    "sign_folder",
]
