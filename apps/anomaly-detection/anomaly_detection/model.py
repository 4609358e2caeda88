"""The autoencoder: a row that it reconstructs badly is anomalous."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from oneflower.sdk.client import set_determinism
from oneflower.sdk.options import option
from oneflower.sdk.torch_app import beside

CLIP = 10.0
"""In standard deviations. Normal shuttle rows reach 120, whose square would dominate the loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Sizes of the layers: server and clients must agree on them."""

    num_features: int
    hidden: int
    code: int

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, object]) -> "Layers":
        """Read `num-features`, `hidden-size` and `code-size`."""
        return cls(
            num_features=option(run_config, "num-features", 9, at_least=1),
            hidden=option(run_config, "hidden-size", 16, at_least=1),
            code=option(run_config, "code-size", 3, at_least=1),
        )


class Autoencoder(nn.Module):
    """Standardise rows, encode and decode them, and return the reconstruction error of each.

    The mean and the scale of the features are buffers of the model, so they are sent and saved with it.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(layers.num_features))
        self.register_buffer("scale", torch.ones(layers.num_features))
        self.encoder = nn.Sequential(
            nn.Linear(layers.num_features, layers.hidden), nn.Tanh(), nn.Linear(layers.hidden, layers.code)
        )
        self.decoder = nn.Sequential(
            nn.Linear(layers.code, layers.hidden), nn.Tanh(), nn.Linear(layers.hidden, layers.num_features)
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Return the mean squared error (N,) of reconstructing each row (N, features), in standard units."""
        standard = ((rows - self.mean) / self.scale).clamp(-CLIP, CLIP)
        errors: Tensor = (self.decoder(self.encoder(standard)) - standard).square().mean(1)
        return errors


def initial_model(layers: Layers, seed: int) -> Autoencoder:
    """Build the autoencoder with initial weights from the run's seed."""
    set_determinism(seed, 0, 0)
    return Autoencoder(layers)


@torch.no_grad()
def row_errors(model: nn.Module, rows: Tensor) -> Tensor:
    """Return the reconstruction error (N,) of every row."""
    model.eval()
    return torch.cat([model(beside(model, some)).cpu() for some in torch.split(rows, 4096)])
