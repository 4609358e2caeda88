"""The training that all peers of `peers.py` do: network, data and steps of our image-classification app.

It imports none of the frameworks. `PEERS_ROWS` names a folder with the row numbers of each client and of the
server, and the file with the images: every peer trains on the same rows.
"""

import gzip
import json
import os
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

EPOCHS, BATCH, LR = 2, 32, 0.05


class Net(nn.Module):
    """Two convolutions and two dense layers, with batch normalisation: 106,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(32 * 7**2, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, 10) of images (N, 1, 28, 28)."""
        return self.classifier(self.features(images))


def folder() -> Path:
    """Return where the rows are, and where the end of each round is noted."""
    return Path(os.environ["PEERS_ROWS"])


@lru_cache(maxsize=1)
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Return all pixels, float32 (5000, 1, 28, 28), and labels."""
    packed = Path(json.loads((folder() / "data.json").read_text())["images"])
    text = gzip.decompress(packed.read_bytes()).replace(b"\n", b",")
    table = np.fromstring(text, dtype=np.float32, sep=",").reshape(-1, 785)
    pixels = torch.from_numpy((table[:, :-1] / 255).reshape(-1, 1, 28, 28))
    return pixels, torch.from_numpy(table[:, -1].astype(np.int64))


def part(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pixels and labels of these rows: `train-0`, `validation-0` or `held-out`."""
    rows = torch.from_numpy(np.load(folder() / f"{name}.npy", allow_pickle=False))
    pixels, labels = images()
    return pixels[rows], labels[rows]


def train(model: Net, client: int) -> int:
    """Train as our app does; return the number of examples."""
    torch.set_num_threads(1)
    pixels, labels = part(f"train-{client}")
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    model.train()
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(labels))[: len(labels) // BATCH * BATCH], BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(pixels[rows]), labels[rows]).backward()
            optimizer.step()
    return len(labels)


@torch.no_grad()
def accuracy(model: Net, name: str) -> float:
    """Return the accuracy on these rows."""
    model.eval()
    pixels, labels = part(name)
    logits = torch.cat([model(some) for some in torch.split(pixels, 100)])
    return float((logits.argmax(1) == labels).float().mean())


def note_round() -> None:
    """Note that a round has begun or ended: the time of a round is that between two notes."""
    with (folder() / "rounds.txt").open("a") as notes:
        notes.write(f"{time.time()}\n")
