"""The ServerApp: initial weights from the run's seed, standardisation, central evaluation."""

from collections.abc import Callable, Mapping
from functools import partial
from logging import INFO, WARNING

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.common import log
from flwr.serverapp import Grid, ServerApp
from sklearn.metrics import roc_auc_score

from oneflower.sdk import train
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.options import training_config
from oneflower.sdk.standardise import standardise
from tabular_classification.client import local_training
from tabular_classification.data import Columns, fits_dataset, held_out_rows, root_rows
from tabular_classification.model import Classifier, Layers, initial_arrays

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with the strategy, the rounds and the checkpoints that the run-config names."""
    layers = Layers.from_run_config(context.run_config)
    config = training_config(context.run_config)
    train(
        grid,
        context,
        initial_arrays(layers, config.seed),
        evaluate=evaluation(context, layers, config.seed, root_half=config.rule.needs_root),
        root_update=root_training(context.run_config, config.seed) if config.rule.needs_root else None,
        prepare=partial(standardise, strategy=config.strategy),
    )


def evaluation(
    context: Context, layers: Layers, seed: int, *, root_half: bool = False
) -> Callable[[int, ArrayRecord], MetricRecord] | None:
    """Return the central evaluation, or None if this machine has no rows for this model."""
    columns = Columns.from_run_config(context.run_config)
    source = DataSource.from_config(context.run_config, root_half=root_half)
    if not _has_rows(source, columns):
        log(WARNING, "no rows on the server: there is only client evaluation")
        return None
    rows = held_out_rows(source, columns, seed)
    log(INFO, "central evaluation rows=%d from=%s", len(rows), source.folder or columns.dataset)

    def evaluate(_round: int, arrays: ArrayRecord) -> MetricRecord:
        loss, accuracy, found = Classifier(layers, arrays).score(rows)
        metrics: dict[str, float] = {"loss": loss, "accuracy": accuracy}
        if layers.num_classes == 2 and 0 < rows.labels.sum() < len(rows):
            metrics["roc_auc"] = float(roc_auc_score(rows.labels, found[:, 1]))
        return MetricRecord({**metrics})

    return evaluate


def root_training(
    run_config: Mapping[str, object], seed: int
) -> Callable[[int, ArrayRecord], ArrayRecord] | None:
    """Return the server's own training for FL_STRATEGY=FLTrust, or None if this machine has no rows."""
    columns, source = Columns.from_run_config(run_config), DataSource.from_config(run_config, root_half=True)
    if not _has_rows(source, columns):
        return None
    rows = root_rows(source, columns, seed)
    log(INFO, "root data rows=%d from=%s", len(rows), source.folder or columns.dataset)

    def root_update(number: int, arrays: ArrayRecord) -> ArrayRecord:
        return local_training(arrays, rows, run_config, RoundInfo.on_server(number, seed))[0]

    return root_update


def _has_rows(source: DataSource, columns: Columns) -> bool:
    return source.folder is not None or fits_dataset(columns)
