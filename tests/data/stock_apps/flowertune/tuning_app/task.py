"""A frozen network with low-rank adapters, data, and the run-config as nested dictionaries."""

import math

import torch
from flwr.common.config import unflatten_dict
from torch import nn


def nested(run_config):
    def renamed(value):
        if not isinstance(value, dict):
            return value
        return {name.replace("-", "_"): renamed(each) for name, each in value.items()}

    return renamed(unflatten_dict(run_config))


class Adapted(nn.Module):
    def __init__(self, inputs, outputs, rank, seed):
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.register_buffer("frozen", torch.randn(inputs, outputs, generator=rng) / math.sqrt(inputs))
        self.lora_a = nn.Parameter(0.1 * torch.randn(inputs, rank))
        self.lora_b = nn.Parameter(torch.zeros(rank, outputs))

    def forward(self, x):
        return x @ (self.frozen + self.lora_a @ self.lora_b)


def get_model(model, length):
    assert model["name"] == "tiny-mlp", model["name"]
    rank = model["lora"]["rank"]
    return nn.Sequential(
        Adapted(length, model["hidden"], rank, 1), nn.ReLU(), Adapted(model["hidden"], 2, rank, 2)
    )


def adapters(model):
    return {name: value for name, value in model.state_dict().items() if "lora" in name}


def load_data(partition_id, length):
    rng = torch.Generator().manual_seed(partition_id)
    y = torch.randint(0, 2, (80,), generator=rng)
    return torch.randn(80, length, generator=rng) + (2.0 * y[:, None] - 1), y


def cosine(current, rounds, highest, lowest):
    return lowest + 0.5 * (highest - lowest) * (1 + math.cos(math.pi * current / rounds))
