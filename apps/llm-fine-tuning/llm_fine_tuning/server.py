"""The ServerApp: initial adapter from the run's seed, central evaluation on held-out pairs."""

import math
from collections.abc import Callable, Mapping
from logging import INFO, WARNING
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.common import log
from flwr.serverapp import Grid, ServerApp
from torch import nn

from llm_fine_tuning.client import local_training
from llm_fine_tuning.data import (
    Encoding,
    corpus_folder,
    data_source,
    held_out_pairs,
    root_pairs,
    to_batches,
)
from llm_fine_tuning.model import Adapter, adapted_model, base_folder, mean_loss, precision, tokenizer_of
from oneflower.language_models import fingerprint
from oneflower.sdk import train
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.options import training_config
from oneflower.sdk.torch_app import load_arrays, model_arrays, trained_names

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with the strategy, the rounds and the checkpoints that the run-config names."""
    config = training_config(context.run_config)
    seed, needs_root = config.seed, config.rule.needs_root
    folder = base_folder(context.run_config)
    adapter = Adapter.from_run_config(context.run_config)
    precision(context.run_config)  # a wrong word ends the run here, not in every client
    model = adapted_model(folder, adapter, seed)
    base = {"base-model": folder.name, "base-model-sha256": fingerprint(folder)}
    log(INFO, "base model name=%s sha256=%s", base["base-model"], base["base-model-sha256"])
    train(
        grid,
        context,
        model_arrays(model, trained_names(model)),
        evaluate=evaluation(context.run_config, folder, model, seed, root_half=needs_root),
        root_update=root_training(context.run_config, folder, model, seed) if needs_root else None,
        train_config=base,
        evaluate_config=base,
        versions=base | adapter.described(),
    )


def evaluation(
    run_config: Mapping[str, object], folder: Path, model: nn.Module, seed: int, *, root_half: bool = False
) -> Callable[[int, ArrayRecord], MetricRecord] | None:
    """Return the central evaluation, or None if this machine has no pairs."""
    source = data_source(run_config, root_half=root_half)
    if not _has_pairs(source):
        log(WARNING, "no pairs on the server: there is only client evaluation")
        return None
    encoding = Encoding.from_run_config(run_config)
    pairs = held_out_pairs(source, seed)[: encoding.evaluation_pairs]
    batches = list(to_batches(tokenizer_of(folder), pairs, encoding))
    log(INFO, "central evaluation pairs=%d from=%s", len(pairs), source.folder or "the ChatterBot corpus")

    def evaluate(_round: int, arrays: ArrayRecord) -> MetricRecord:
        load_arrays(model, arrays, trained_names(model))
        loss = mean_loss(model, batches)
        return MetricRecord({"loss": loss, "perplexity": math.exp(min(loss, 700))})

    return evaluate


def root_training(
    run_config: Mapping[str, object], folder: Path, model: nn.Module, seed: int
) -> Callable[[int, ArrayRecord], ArrayRecord] | None:
    """Return the server's own training for FL_STRATEGY=FLTrust, or None if this machine has no pairs."""
    source = data_source(run_config, root_half=True)
    if not _has_pairs(source):
        return None
    pairs, tokenizer = root_pairs(source, seed), tokenizer_of(folder)
    log(INFO, "root data pairs=%d from=%s", len(pairs), source.folder or "the ChatterBot corpus")

    def root_update(number: int, arrays: ArrayRecord) -> ArrayRecord:
        info = RoundInfo.on_server(number, seed)
        return local_training(model, tokenizer, arrays, pairs, run_config, info)[0]

    return root_update


def _has_pairs(source: DataSource) -> bool:
    return source.folder is not None or corpus_folder() is not None
