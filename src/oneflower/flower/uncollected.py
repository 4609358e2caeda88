"""Import without garbage collection."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Do not look for garbage during the block.

    What is imported stays as long as the process. Each full collection meanwhile reads all of it, which takes
    a tenth of the time of importing Flower or PyTorch.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
