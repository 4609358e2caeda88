"""Model and data."""

import logging
import warnings

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore", ".*does not have many workers.*")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


class LitNet(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 2))

    def training_step(self, batch, batch_idx):
        return self._loss(batch, "train_loss")

    def test_step(self, batch, batch_idx):
        self._loss(batch, "test_loss")

    def _loss(self, batch, name):
        x, y = batch
        loss = nn.functional.cross_entropy(self.layers(x), y)
        self.log(name, loss, on_epoch=True, on_step=False)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)


def make_trainer(epochs=1):
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def load_data(partition_id):
    """Two rings."""
    rng = torch.Generator().manual_seed(partition_id)
    y = torch.randint(0, 2, (128,), generator=rng)
    angle = 6.283 * torch.rand(128, generator=rng)
    radius = 1 + y + 0.1 * torch.randn(128, generator=rng)
    data = TensorDataset(torch.stack([radius * angle.cos(), radius * angle.sin()], 1), y)
    return DataLoader(data, batch_size=16, shuffle=True), DataLoader(data, batch_size=128)
