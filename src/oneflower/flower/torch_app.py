"""What the PyTorch apps share: records and state dicts, one local training loop, one form of reply."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from torch import Tensor, nn

from oneflower.errors import AppError
from oneflower.flower.client import proximal_term

Batch = TypeVar("Batch")


def model_arrays(model: nn.Module) -> ArrayRecord:
    """Give every parameter and buffer by its name, as Flower sends them."""
    return ArrayRecord(model.state_dict())


def load_arrays(model: nn.Module, arrays: ArrayRecord) -> dict[str, Tensor]:
    """Put the arrays into the model and give them back as tensors by name, for the proximal term.

    A negative running variance is taken as 0: FedAdam steps on every float array, batch normalisation's
    statistics too, and a large step below zero would make every output nan.

    Raises
    ------
    AppError
        Names or shapes are not the model's.
    """
    given = {name: torch.from_numpy(array.numpy()) for name, array in arrays.items()}
    expected = model.state_dict()
    problems = [f"missing {name}" for name in expected if name not in given]
    problems += [f"unknown {name}" for name in given if name not in expected]
    problems += [
        f"{name} has shape {tuple(given[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in given and given[name].shape != value.shape
    ]
    if problems:
        raise AppError(
            f"the arrays that came are not this model's: {'; '.join(problems[:5])}"
            f"{f' and {len(problems) - 5} more' if len(problems) > 5 else ''}. "
            f"Server and clients must run the same version of the app with the same model keys"
        )
    for name, value in given.items():
        if name.rpartition(".")[2] == "running_var":
            value.clamp_(min=0)
    model.load_state_dict(given)
    return given


def fit(  # noqa: PLR0913  one local training is made of these six
    model: nn.Module,
    batches: Iterable[Batch],
    loss_of: Callable[[nn.Module, Batch], Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    global_arrays: Mapping[str, Tensor],
    proximal_mu: float,
) -> float:
    """Train one step a batch and give the mean loss of the data, the proximal term not counted.

    Raises
    ------
    AppError
        There is no batch, or a loss is nan or infinite.
    """
    model.train()
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise AppError(
                f"the loss became {losses[-1]} at local step {len(losses)}; expected a finite number. "
                f"Lower the learning rate (learning-rate, or FL_CLIENT_LR with FedAdam) or clean the data"
            )
        (loss + proximal_term(model, global_arrays, proximal_mu)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    if not losses:
        raise AppError("there is no batch to train on; expected at least one. Give this node data")
    return sum(losses) / len(losses)


def reply(message: Message, metrics: Mapping[str, float | int], model: nn.Module | None = None) -> Message:
    """Answer a message with metrics, and with the model's arrays where it was trained.

    `num-examples` must be among the metrics: it is the weight of this client in every mean.
    """
    content = RecordDict({"metrics": MetricRecord(dict(metrics))})
    if model is not None:
        content["arrays"] = model_arrays(model)
    return Message(content=content, reply_to=message)
