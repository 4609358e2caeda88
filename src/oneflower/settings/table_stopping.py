"""The variables that say which model is the best, and when a training ends before its last round."""

from oneflower.settings.formats import METRIC, REAL_NUMBER
from oneflower.settings.variable import Kind, Role, Variable

STOPPING_TABLE = (
    Variable(
        name="FL_BEST_METRIC",
        label="Best-model metric",
        kind=Kind.TEXT,
        default="",
        format=METRIC,
        role=Role.SUPERLINK,
        run_config_key="best-metric",
        help="Metric that says how good a model is, as eval_acc or -eval_loss; empty chooses by name",
    ),
    Variable(
        name="FL_EARLY_STOP_ROUNDS",
        label="Early stopping (rounds)",
        kind=Kind.NUMBER,
        default=0,
        minimum=0,
        unit="rounds",
        role=Role.SUPERLINK,
        run_config_key="early-stop-rounds",
        help="Rounds without improvement after which the training ends; 0 never ends it early",
    ),
    Variable(
        name="FL_EARLY_STOP_DELTA",
        label="Smallest improvement",
        kind=Kind.FLOAT,
        default=0.0,
        minimum=0,
        role=Role.SUPERLINK,
        run_config_key="early-stop-delta",
        help="Smallest change of FL_BEST_METRIC that is an improvement",
    ),
    Variable(
        name="FL_TARGET_METRIC_VALUE",
        label="Target metric value",
        kind=Kind.TEXT,
        default="",
        format=REAL_NUMBER,
        role=Role.SUPERLINK,
        run_config_key="target-metric-value",
        help="Value of FL_BEST_METRIC at which the training ends; empty for none",
    ),
)
