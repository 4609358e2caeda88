"""The network, its loss and its score."""

import torch
from torch import Tensor, nn

from my_app.data import CLASSES, FEATURES, Batch


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
    correct = (model(batch[0]).argmax(1) == batch[1]).float().mean()
    return float(loss_of(model, batch)), float(correct)
