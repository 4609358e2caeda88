"""Helpers for a ClientApp: seed, learning rate and partition of a round, proximal term, determinism.

Torch is imported where a function needs it, so that an app of another framework can use `RoundInfo`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oneflower.errors import AppError
from oneflower.flower.api import Array, Context, Message
from oneflower.flower.calls.proximal import app_adds_term, unwatched
from oneflower.flower.calls.seeds import choose_deterministic_algorithms, derived_seed
from oneflower.flower.parts import config_of, handed_part, with_part

__all__ = ["RoundInfo", "derived_seed", "proximal_term", "set_determinism"]

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundInfo:
    """What the server sends with one message, and the partition of this node.

    `lr` is None where the server sends none (all strategies but FedAdagrad, FedAdam and FedYogi): the app's
    own is used then.
    `proximal_mu` is 0 for every strategy but FedProx. A node without a partition is number 0 of 1.
    """

    round: int
    seed: int
    lr: float | None
    proximal_mu: float
    partition_id: int
    num_partitions: int

    def __getattribute__(self, name: str) -> Any:
        """Return a value; an app that reads mu adds the proximal term itself."""
        if name == "proximal_mu":
            app_adds_term()
        return object.__getattribute__(self, name)

    @classmethod
    def from_message(cls, message: Message, context: Context) -> "RoundInfo":
        """Read the config record of a message, the seed of the run-config, and the node's partition.

        Where the message assigns partitions, the node has the one that is assigned to it.

        Raises
        ------
        AppError
            A value has the wrong type, or the partition lies outside its number.
        """
        config = unwatched(config_of(message))
        node = with_part(context.node_config, handed_part(config, context.node_config))
        info = cls(
            round=_whole(config, "server-round", 0),
            seed=_whole(config, "seed", _whole(context.run_config, "seed", 0)),
            lr=_real(config, "lr", 0.0) if "lr" in config else None,
            proximal_mu=_real(config, "proximal-mu", 0.0),
            partition_id=_whole(node, "partition-id", 0),
            num_partitions=_whole(node, "num-partitions", 1),
        )
        if info.partition_id >= info.num_partitions:
            raise AppError(
                f"partition-id is {info.partition_id} and num-partitions is {info.num_partitions}; "
                f"expected an id from 0 to {info.num_partitions - 1}. Correct FL_NODE_CONFIG of this node"
            )
        return info

    @classmethod
    def on_server(cls, round: int, seed: int) -> "RoundInfo":  # noqa: A002
        """Return what a client's training needs to know where the server runs it, in `root_update`."""
        return cls(round=round, seed=seed, lr=None, proximal_mu=0.0, partition_id=_SERVER, num_partitions=1)


_SERVER = -1
"""In the place of a partition: no client draws what the server draws."""


def set_determinism(seed: int, round: int, partition: int) -> "torch.Generator":  # noqa: A002
    """Make PyTorch compute the same bits again for the same (seed, round, partition).

    One thread a process: the order of a parallel sum is not promised. Shuffle with the generator that
    comes back; the global one, seeded alike, serves what takes no generator (dropout).
    """
    import torch  # noqa: PLC0415  an app of another framework has none

    # cuBLAS reads this at its first call and is not deterministic without it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    choose_deterministic_algorithms(torch, "error")
    torch.set_num_threads(1)
    number = derived_seed(seed, round, partition)
    torch.manual_seed(number)
    return torch.Generator().manual_seed(number)


def proximal_term(
    model: "torch.nn.Module",
    global_arrays: Mapping[str, "Array | NDArray[np.generic] | torch.Tensor"],
    mu: float,
) -> "torch.Tensor":
    """Compute FedProx's (mu / 2) * ||w - w_global||^2 over every trainable float parameter.

    The norm is squared, as in equation 2 of Li et al., "Federated Optimization in Heterogeneous
    Networks" (2020). Add it to the loss of every step; its gradient is mu * (w - w_global).

    Parameters
    ----------
    global_arrays
        The round's global model by parameter name; other names in it (buffers) are left alone.

    Returns
    -------
    torch.Tensor
        0-d, on the parameters' device; a constant zero where mu is 0.

    Raises
    ------
    AppError
        A trainable parameter has no global array of its shape: leaving it out would be silent.
    """
    import torch  # noqa: PLC0415  an app of another framework has none

    total = torch.zeros(())
    if mu == 0:
        return total
    app_adds_term()
    for name, weight in model.named_parameters():
        if weight.requires_grad and weight.is_floating_point():
            reference = _reference(name, weight, global_arrays)
            total = total.to(weight.device) + (weight - reference).square().sum()
    return mu / 2 * total


def _reference(
    name: str,
    weight: "torch.Tensor",
    global_arrays: Mapping[str, "Array | NDArray[np.generic] | torch.Tensor"],
) -> "torch.Tensor":
    import torch  # noqa: PLC0415  an app of another framework has none

    given = global_arrays.get(name)
    if isinstance(given, Array):
        given = given.numpy()
    shape = None if given is None else tuple(given.shape)
    if given is None or shape != tuple(weight.shape):
        raise AppError(
            f"the proximal term needs the global array of parameter {name}, shape {tuple(weight.shape)}; "
            f"given: {'none of that name' if shape is None else f'shape {shape}'}. "
            f"Pass the arrays of the server's message under the model's own parameter names"
        )
    return torch.as_tensor(given).detach().to(weight)


def _whole(values: Mapping[str, object], key: str, default: int) -> int:
    value = values.get(key, default)
    if type(value) is not int or value < 0:
        raise AppError(
            f"{key} is {value!r}; expected a whole number from 0. The server or FL_NODE_CONFIG sent it"
        )
    return value


def _real(values: Mapping[str, object], key: str, default: float) -> float:
    value = values.get(key, default)
    if type(value) not in {int, float} or not 0 <= value < float("inf"):  # type: ignore[operator]
        raise AppError(f"{key} is {value!r}; expected a finite number from 0. The server sent it")
    return float(value)  # type: ignore[arg-type]
