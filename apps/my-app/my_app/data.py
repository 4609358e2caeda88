"""The data: your own .npz, or two interleaved half circles."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from oneflower.errors import AppError

FEATURES, CLASSES = 2, 2

Batch = tuple[Tensor, Tensor]
"""Rows float32 (N, features) and labels int64 (N,)."""


def load(folder: Path | None) -> Batch:
    """Return all rows of this machine; replace it by code that reads your data."""
    if folder is None:
        return half_circles(1200)
    path = folder / "rows.npz"
    try:
        with np.load(path) as archive:
            rows, labels = torch.tensor(archive["x"]).float(), torch.tensor(archive["y"]).long()
    except (OSError, ValueError, KeyError) as error:
        raise AppError(f"{path} cannot be read: {error}. Expected the arrays x and y") from error
    if rows.ndim != 2 or rows.shape[1] != FEATURES or labels.shape != rows.shape[:1]:
        raise AppError(
            f"{path} holds x of shape {tuple(rows.shape)} and y of shape {tuple(labels.shape)}; expected "
            f"(rows, {FEATURES}) and (rows,). Fix the file, or FEATURES in data.py"
        )
    return rows, labels


def half_circles(count: int) -> Batch:
    """Draw points on two half circles with noise, the same on every machine."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % CLASSES
    angle = torch.pi * (torch.rand(count, generator=generator) + labels)
    rows = torch.stack([torch.cos(angle) + labels, torch.sin(angle) + 0.5 * labels], dim=1)
    return rows + 0.1 * torch.randn(rows.shape, generator=generator), labels
