"""The network, its loss and its score."""

import torch
from torch import Tensor, nn

from my_app.data import CLASSES, FEATURES, Batch
from oneflower.sdk.torch_app import beside


def new_model() -> nn.Module:
    """Build the network; call set_determinism first to get initial weights from the run's seed."""
    return nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, CLASSES))


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of a batch."""
    rows, labels = batch
    return nn.functional.cross_entropy(model(rows), labels)


@torch.no_grad()
def score(model: nn.Module, batch: Batch) -> tuple[float, float]:
    """Return (loss, accuracy)."""
    model.eval()
    rows, labels = beside(model, batch)  # on a GPU where the model is on one
    correct = (model(rows).argmax(1) == labels).float().mean()
    return float(loss_of(model, (rows, labels))), float(correct)
