"""The ServerApp: initial adapter from the run's seed, central evaluation on held-out pairs."""

import math
from collections.abc import Callable, Mapping
from logging import INFO, WARNING
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.common import log
from flwr.serverapp import Grid, ServerApp
from torch import nn

from llm_fine_tuning.data import Encoding, corpus_folder, data_source, held_out_pairs, to_batches
from llm_fine_tuning.model import Adapter, adapted_model, base_folder, mean_loss, tokenizer_of
from oneflower.language_models import fingerprint
from oneflower.sdk import train
from oneflower.sdk.options import training_config
from oneflower.sdk.torch_app import load_arrays, model_arrays, trained_names

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with the strategy, the rounds and the checkpoints that the run-config names."""
    seed = training_config(context.run_config).seed
    folder = base_folder(context.run_config)
    adapter = Adapter.from_run_config(context.run_config)
    model = adapted_model(folder, adapter, seed)
    base = {"base-model": folder.name, "base-model-sha256": fingerprint(folder)}
    log(INFO, "base model name=%s sha256=%s", base["base-model"], base["base-model-sha256"])
    train(
        grid,
        context,
        model_arrays(model, trained_names(model)),
        evaluate=evaluation(context.run_config, folder, model, seed),
        train_config=base,
        evaluate_config=base,
        versions=base | adapter.described(),
    )


def evaluation(
    run_config: Mapping[str, object], folder: Path, model: nn.Module, seed: int
) -> Callable[[int, ArrayRecord], MetricRecord] | None:
    """Return the central evaluation, or None if this machine has no pairs."""
    source = data_source(run_config)
    if source.folder is None and corpus_folder() is None:
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
