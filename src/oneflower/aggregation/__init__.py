"""The six aggregation rules and the checks of client updates: pure NumPy, knows no Flower."""

from oneflower.aggregation.adam import AdamParameters, AdamState, adam_step, initial_state
from oneflower.aggregation.blocks import Allocate
from oneflower.aggregation.bounds import minimum_clients
from oneflower.aggregation.bulyan import bulyan
from oneflower.aggregation.checks import (
    ArraySpec,
    Schema,
    check_num_examples,
    check_shares,
    check_update,
    model_schema,
)
from oneflower.aggregation.errors import AggregationError
from oneflower.aggregation.krum import krum
from oneflower.aggregation.mean import weighted_mean
from oneflower.aggregation.trimmed import trimmed_mean
from oneflower.aggregation.updates import Aggregate, Arrays, NDArray, Update, form_of, ordered

__all__ = [
    "AdamParameters",
    "AdamState",
    "Aggregate",
    "AggregationError",
    "Allocate",
    "ArraySpec",
    "Arrays",
    "NDArray",
    "Schema",
    "Update",
    "adam_step",
    "bulyan",
    "check_num_examples",
    "check_shares",
    "check_update",
    "form_of",
    "initial_state",
    "krum",
    "minimum_clients",
    "model_schema",
    "ordered",
    "trimmed_mean",
    "weighted_mean",
]
