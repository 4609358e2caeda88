"""Strategies and the checks of client updates: pure NumPy, knows no Flower.

A strategy is a `StrategySpec` in `oneflower.aggregation.rules`; `SPECS` holds them all.
"""

from oneflower.aggregation.blocks import Allocate, Combined
from oneflower.aggregation.checks import (
    ArraySpec,
    Schema,
    are_finite,
    check_array,
    check_names,
    check_num_examples,
    is_finite,
    model_schema,
)
from oneflower.aggregation.comparison import LONGEST_REASON, Checked, Remark, check_together
from oneflower.aggregation.errors import AggregationError
from oneflower.aggregation.folding import Folding, folded_bytes
from oneflower.aggregation.inspection import Inspected, Shares, inspect, inspect_changes, shares
from oneflower.aggregation.metrics import median_metrics, weighted_metrics
from oneflower.aggregation.mixing import PreAggregation, pre_aggregated
from oneflower.aggregation.norms import Bounded, Kind, bound_changes
from oneflower.aggregation.parameter import NUM_MALICIOUS, AnyParameter, Parameter, Values
from oneflower.aggregation.registry import PARAMETERS, SPECS, readers, spec_of
from oneflower.aggregation.spec import Aggregate, Bound, Family, Round, State, StrategySpec
from oneflower.aggregation.updates import WEIGHT, Arrays, Form, NDArray, Ordered, Update, form_of, ordered

__all__ = [
    "LONGEST_REASON",
    "NUM_MALICIOUS",
    "PARAMETERS",
    "SPECS",
    "WEIGHT",
    "Aggregate",
    "AggregationError",
    "Allocate",
    "AnyParameter",
    "ArraySpec",
    "Arrays",
    "Bound",
    "Bounded",
    "Checked",
    "Combined",
    "Family",
    "Folding",
    "Form",
    "Inspected",
    "Kind",
    "NDArray",
    "Ordered",
    "Parameter",
    "PreAggregation",
    "Remark",
    "Round",
    "Schema",
    "Shares",
    "State",
    "StrategySpec",
    "Update",
    "Values",
    "are_finite",
    "bound_changes",
    "check_array",
    "check_names",
    "check_num_examples",
    "check_together",
    "folded_bytes",
    "form_of",
    "inspect",
    "inspect_changes",
    "is_finite",
    "median_metrics",
    "model_schema",
    "ordered",
    "pre_aggregated",
    "readers",
    "shares",
    "spec_of",
    "weighted_metrics",
]
