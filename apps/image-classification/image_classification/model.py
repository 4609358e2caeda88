"""The network: two convolutions and two dense layers, with batch normalisation."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from oneflower.sdk.client import set_determinism
from oneflower.sdk.options import option
from oneflower.sdk.torch_app import beside


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShape:
    """Image size, channels and number of classes: server and clients must agree on them."""

    size: int
    channels: int
    num_classes: int

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, object]) -> "ImageShape":
        """Read `image-size`, `channels` and `num-classes`."""
        return cls(
            size=option(run_config, "image-size", 28, at_least=4),
            channels=option(run_config, "channels", 1, at_least=1),
            num_classes=option(run_config, "num-classes", 10, at_least=2),
        )


class Net(nn.Module):
    """106,000 parameters at 28x28: the image size is halved twice, then the images are classified."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(shape.channels, 16, kernel_size=3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(32 * (shape.size // 4) ** 2, 64),
            nn.ReLU(),
            nn.Linear(64, shape.num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of images (N, channels, size, size)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def initial_model(shape: ImageShape, seed: int) -> Net:
    """Build the network with initial weights from the run's seed."""
    set_determinism(seed, 0, 0)
    return Net(shape)


@torch.no_grad()
def score(model: nn.Module, pixels: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return (mean cross-entropy, accuracy) over all images.

    A few images at a time: the layers of 500 need 75 MB, on the server as well, and take longer.
    """
    model.eval()
    logits = torch.cat([model(beside(model, some)).cpu() for some in torch.split(pixels, 50)])
    loss = nn.functional.cross_entropy(logits, labels)
    correct = int((logits.argmax(1) == labels).sum())
    return float(loss), correct / len(labels)
