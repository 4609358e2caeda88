"""Which metric says how good a model is, and which way is better: one table for all that ask.

Retention, the best checkpoint, early stopping, the status, the page and the report read it here. A metric has
an origin, which is where it was measured, and the name that the app gives it: together a `Measure`.
"""

from oneflower.quality.best import Best, BestSoFar, best_of
from oneflower.quality.measures import (
    ORIGINS,
    Measure,
    Metric,
    Origin,
    RoundMetrics,
    as_metrics,
    flat,
    measure,
    numbers,
)
from oneflower.quality.table import (
    AUTOMATIC,
    TABLE,
    Family,
    Row,
    Wanted,
    family,
    headline,
    headline_measures,
    in_order,
    label,
    label_beside,
    measure_named,
    primary,
    row_of,
    wanted_or_automatic,
)

__all__ = [
    "AUTOMATIC",
    "ORIGINS",
    "TABLE",
    "Best",
    "BestSoFar",
    "Family",
    "Measure",
    "Metric",
    "Origin",
    "RoundMetrics",
    "Row",
    "Wanted",
    "as_metrics",
    "best_of",
    "family",
    "flat",
    "headline",
    "headline_measures",
    "in_order",
    "label",
    "label_beside",
    "measure",
    "measure_named",
    "numbers",
    "primary",
    "row_of",
    "wanted_or_automatic",
]
