"""The ClientApp: a few steps on the adapter with this node's pairs, and federated evaluation."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from flwr.app import ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from torch import nn

from llm_fine_tuning.data import Encoding, Pair, client_pairs, data_source, to_batches
from llm_fine_tuning.model import (
    Adapter,
    adapted_model,
    base_folder,
    batch_loss,
    mean_loss,
    precision,
    tokenizer_of,
)
from oneflower.errors import AppError
from oneflower.language_models import fingerprint
from oneflower.sdk.client import RoundInfo, set_determinism
from oneflower.sdk.device import device, dtype_of
from oneflower.sdk.options import option
from oneflower.sdk.torch_app import fit, load_arrays, model_arrays, reply, trained_names

app = ClientApp()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """Local training: steps per round, batches per step, learning rate if the server sends none."""

    max_steps: int
    accumulation: int
    lr: float

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, object]) -> "LocalOptions":
        """Read `max-steps`, `gradient-accumulation` and `learning-rate`."""
        return cls(
            max_steps=option(run_config, "max-steps", 8, at_least=1),
            accumulation=option(run_config, "gradient-accumulation", 1, at_least=1),
            lr=option(run_config, "learning-rate", 0.1, at_least=1e-9),
        )


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global adapter on this node's pairs and send it back."""
    info = RoundInfo.from_message(message, context)
    pairs, _ = client_pairs(data_source(context.run_config, context.node_config), info)
    model, tokenizer = _model(message, context, info)
    received = message.content.array_records["arrays"]
    arrays, metrics = local_training(model, tokenizer, received, pairs, context.run_config, info)
    return reply(message, metrics, arrays)


def local_training(  # noqa: PLR0913, PLR0917  the base model, its adapter, data and options
    model: nn.Module,
    tokenizer: Any,
    arrays: ArrayRecord,
    pairs: list[Pair],
    run_config: Mapping[str, object],
    info: RoundInfo,
) -> tuple[ArrayRecord, dict[str, int | float]]:
    """Train the adapter of these arrays on pairs, a client's or the server's; return it and the metrics."""
    names = trained_names(model)
    global_arrays = load_arrays(model, arrays, names)
    options = LocalOptions.from_run_config(run_config)
    encoding = Encoding.from_run_config(run_config)
    shuffling = set_determinism(info.seed, info.round, info.partition_id)
    chosen = list(draw(pairs, options.max_steps * options.accumulation * encoding.batch_size, shuffling))
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loss = fit(
        model,
        to_batches(tokenizer, chosen, encoding),
        batch_loss,
        torch.optim.SGD(trainable, lr=info.lr or options.lr),
        global_arrays=global_arrays,
        proximal_mu=info.proximal_mu,
        accumulate=options.accumulation,
    )
    return model_arrays(model, names), {"num-examples": len(chosen), "train_loss": loss}


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the global adapter on this node's validation pairs."""
    info = RoundInfo.from_message(message, context)
    _, pairs = client_pairs(data_source(context.run_config, context.node_config), info)
    model, tokenizer = _model(message, context, info)
    load_arrays(model, message.content.array_records["arrays"], trained_names(model))
    encoding = Encoding.from_run_config(context.run_config)
    pairs = pairs[: encoding.evaluation_pairs]
    loss = mean_loss(model, list(to_batches(tokenizer, pairs, encoding)))
    return reply(message, {"num-examples": len(pairs), "eval_loss": loss})


def draw(pairs: list[Pair], count: int, generator: torch.Generator) -> Iterator[Pair]:
    """Yield `count` pairs in a random order; every pair once before any is repeated."""
    while count > 0:
        for row in torch.randperm(len(pairs), generator=generator)[:count].tolist():
            yield pairs[row]
        count -= len(pairs)


def _model(message: Message, context: Context, info: RoundInfo) -> tuple[nn.Module, Any]:
    """Load the base model with an adapter, after checking that it is the server's base model."""
    folder = base_folder(context.run_config, context.node_config)
    expected = message.content.config_records["config"].get("base-model-sha256")
    found = fingerprint(folder)
    if expected is not None and expected != found:
        raise AppError(
            f"the base model in {folder} has SHA-256 {found}; the server's has {expected!r}. Expected the "
            f"same model: mount the same folder on the server and on every node"
        )
    on, adapter = device(), Adapter.from_run_config(context.run_config)
    dtype = dtype_of(precision(context.run_config), on)
    return adapted_model(folder, adapter, info.seed, on, dtype), tokenizer_of(folder)
