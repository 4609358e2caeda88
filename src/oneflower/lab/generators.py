"""Random generators of this process that clients and server share in a simulation, but not in a cluster."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def generators_kept() -> Iterator[None]:
    """Restore the global generators of Python, NumPy and PyTorch: what runs within draws for itself.

    On a cluster a client is a process of its own, and the server draws the same whatever its clients do.
    """
    torch = sys.modules.get("torch")
    # PyTorch may be in the middle of its import, or fail at it.
    of_torch = torch.get_rng_state() if torch is not None and hasattr(torch, "get_rng_state") else None
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one that apps share
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
        if torch is not None and of_torch is not None:
            torch.set_rng_state(of_torch)
