"""The ServerApp: standardisation before round 1, central evaluation on held-out rows."""

from collections.abc import Callable, Mapping
from functools import partial
from logging import INFO, WARNING

import numpy as np
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.common import log
from flwr.serverapp import Grid, ServerApp

from anomaly_detection import metrics
from anomaly_detection.client import local_training
from anomaly_detection.data import Columns, Rows, held_out_rows, root_rows, shuttle_file
from anomaly_detection.model import Autoencoder, Layers, initial_model, row_errors
from oneflower.sdk import train
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.options import option, training_config
from oneflower.sdk.partition import hold_out
from oneflower.sdk.standardise import standardise
from oneflower.sdk.torch_app import load_arrays, model_arrays

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with the strategy, the rounds and the checkpoints that the run-config names."""
    layers = Layers.from_run_config(context.run_config)
    config = training_config(context.run_config)
    train(
        grid,
        context,
        model_arrays(initial_model(layers, config.seed)),
        evaluate=evaluation(context, layers, config.seed, root_half=config.rule.needs_root),
        root_update=root_training(context.run_config, config.seed) if config.rule.needs_root else None,
        prepare=partial(standardise, strategy=config.strategy),
    )


def evaluation(
    context: Context, layers: Layers, seed: int, *, root_half: bool = False
) -> Callable[[int, ArrayRecord], MetricRecord] | None:
    """Return the central evaluation, or None if this machine has no rows."""
    source = DataSource.from_config(context.run_config, root_half=root_half)
    if not _has_rows(source):
        log(WARNING, "no rows on the server: there is only client evaluation")
        return None
    rows = held_out_rows(source, Columns.from_run_config(context.run_config), seed)
    log(INFO, "central evaluation rows=%d from=%s", len(rows), source.folder or "the shuttle data")
    validation, test = (rows.take(half) for half in hold_out(len(rows), 0.5, seed))
    quantile = option(context.run_config, "threshold-quantile", 0.99, at_least=0)

    def evaluate(_round: int, arrays: ArrayRecord) -> MetricRecord:
        model = Autoencoder(layers)
        load_arrays(model, arrays)
        return MetricRecord({**score(model, validation, test, quantile)})

    return evaluate


def root_training(
    run_config: Mapping[str, object], seed: int
) -> Callable[[int, ArrayRecord], ArrayRecord] | None:
    """Return the server's own training for FL_STRATEGY=FLTrust, or None if this machine has no rows."""
    columns, source = Columns.from_run_config(run_config), DataSource.from_config(run_config, root_half=True)
    if not _has_rows(source):
        return None
    rows = root_rows(source, columns, seed)
    log(INFO, "root data rows=%d from=%s", len(rows), source.folder or "the shuttle data")

    def root_update(number: int, arrays: ArrayRecord) -> ArrayRecord:
        return local_training(arrays, rows, run_config, RoundInfo.on_server(number, seed))[0]

    return root_update


def _has_rows(source: DataSource) -> bool:
    return source.folder is not None or shuttle_file() is not None


def score(model: Autoencoder, validation: Rows, test: Rows, quantile: float) -> dict[str, float | int]:
    """Set the threshold on validation rows and apply it to the test rows."""
    threshold = float(np.quantile(row_errors(model, validation.normal().values).numpy(), quantile))
    errors = row_errors(model, test.values).numpy().astype(np.float64)
    normal = row_errors(model, test.normal().values)
    scores: dict[str, float | int] = {"loss": float(normal.mean()), "threshold": threshold}
    flagged = errors > threshold
    if test.labels is None:
        return scores | {"flagged": int(flagged.sum())}
    if 0 < test.labels.sum() < len(test):
        scores["roc_auc"] = metrics.roc_auc(errors, test.labels)
        scores["average_precision"] = metrics.average_precision(errors, test.labels)
    return scores | metrics.confusion(flagged, test.labels)
