"""Seed the generators that an app may draw from."""

import hashlib
import random
import sys

import numpy as np


def seed_everything(*parts: object) -> None:
    """Seed Python, NumPy and those frameworks that are imported, from these parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    seed = int.from_bytes(digest[:8], "big") >> 1
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the generator that apps use
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
