"""Helpers for PyTorch apps: records and state dicts, the local training loop, the reply."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from oneflower.errors import AppError
from oneflower.flower.api import ArrayRecord
from oneflower.flower.calls.arrays import sendable
from oneflower.sdk.client import proximal_term
from oneflower.sdk.options import LocalOptions
from oneflower.sdk.replies import reply

__all__ = [
    "PlainSGD",
    "beside",
    "fit",
    "load_arrays",
    "model_arrays",
    "reply",
    "shuffled",
    "trained_names",
]

Batch = TypeVar("Batch")


def trained_names(model: nn.Module) -> set[str]:
    """Give the names of the trainable parameters: what travels where only an adapter is trained."""
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def model_arrays(model: nn.Module, names: Collection[str] | None = None) -> ArrayRecord:
    """Give every parameter and buffer by its name, or those of `names` only."""
    return ArrayRecord({name: value.cpu() for name, value in sendable(_state(model, names)).items()})


def load_arrays(
    model: nn.Module, arrays: ArrayRecord, names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Put the arrays into the model; give them back as tensors on its device, by name, for the proximal term.

    Raises
    ------
    AppError
        Names or shapes are not the model's (or not those of `names`).
    """
    given = {name: torch.from_numpy(array.numpy()) for name, array in arrays.items()}
    expected = _state(model, names)
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
    model.load_state_dict(given, strict=names is None)
    return {name: value.to(expected[name].device) for name, value in given.items()}


def beside(model: nn.Module, batch: Batch) -> Batch:
    """Give a batch on the model's device: a tensor, or a tuple, list or dict of them; all else as it is."""
    first = next(iter(model.parameters()), None)
    return batch if first is None or first.device.type == "cpu" else _moved(batch, first.device)


def _moved(value: Any, to: torch.device) -> Any:
    match value:
        case Tensor():
            return value.to(to)
        case dict():
            return {name: _moved(each, to) for name, each in value.items()}
        case tuple() | list() if type(value) in {tuple, list}:
            return type(value)(_moved(each, to) for each in value)
    return value


def _state(model: nn.Module, names: Collection[str] | None) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if names is None or name in names}


def shuffled(
    count: int, options: LocalOptions, generator: torch.Generator, *, whole_batches: bool = False
) -> Iterator[Tensor]:
    """Give the row numbers of each batch, int64 (rows,), in a new order every epoch.

    `whole_batches` leaves out the few rows that do not fill a batch: they would bend the statistics of batch
    normalisation. Fewer rows than a batch are one batch all the same.
    """
    size = min(options.batch_size, count)
    used = count // size * size if whole_batches else count
    for _ in range(options.epochs):
        yield from torch.split(torch.randperm(count, generator=generator)[:used], size)


class Optimizer(Protocol):
    """What `fit` needs of an optimizer; all of `torch.optim` have it."""

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def step(self) -> object:
        """Change the parameters by their gradients."""


class PlainSGD:
    """Gradient descent without momentum or decay: the same bits as `torch.optim.SGD` with these arguments.

    An optimizer of `torch.optim` imports PyTorch's compiler at its first step: 840 modules, which take each
    client as long as PyTorch itself.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        self._parameters, self._lr = list(parameters), lr

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Subtract `lr` times its gradient from each parameter that has one."""
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=-self._lr)


def fit(  # noqa: PLR0913  one local training is made of these seven
    model: nn.Module,
    batches: Iterable[Batch],
    loss_of: Callable[[nn.Module, Batch], Tensor],
    optimizer: Optimizer,
    *,
    global_arrays: Mapping[str, Tensor],
    proximal_mu: float,
    accumulate: int = 1,
) -> float:
    """Train one step every `accumulate` batches; give the mean loss of the data, without the proximal term.

    Batches are moved to the model's device.

    Raises
    ------
    AppError
        There is no batch, or a loss is nan or infinite.
    """
    model.train()
    losses: list[float] = []
    remaining = iter(batches)
    while group := list(islice(remaining, accumulate)):
        optimizer.zero_grad()
        for batch in group:
            loss = loss_of(model, beside(model, batch))
            losses.append(_finite(loss, len(losses) + 1))
            (loss / len(group)).backward()  # type: ignore[no-untyped-call]
        if proximal_mu:
            proximal_term(model, global_arrays, proximal_mu).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    if not losses:
        raise AppError("there is no batch to train on; expected at least one. Give this node data")
    return sum(losses) / len(losses)


def _finite(loss: Tensor, batch: int) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise AppError(
            f"the loss became {value} at local batch {batch}; expected a finite number. Lower the learning "
            "rate (learning-rate, or FL_CLIENT_LR with FedAdagrad, FedAdam or FedYogi) or clean the data"
        )
    return value
