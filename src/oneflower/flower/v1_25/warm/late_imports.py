"""What an app imports only when it runs is imported in the zygote too, before the next message.

PyTorch imports 800 modules when the first optimizer is made, which takes 0.8 s in each new process. Only
installed modules are taken, not the app's own: what those do may depend on the message.
"""

import importlib
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from types import ModuleType

from oneflower.flower.v1_25.warm.randomness import RandomStates

INSTALLED = tuple(prefix + os.sep for prefix in (sys.prefix, sys.base_prefix))


class LateImports:
    """A list of modules in anonymous memory: a child writes it when it ends, its zygote reads it."""

    def __init__(self) -> None:
        self._known = set(sys.modules)
        self._descriptor = os.memfd_create("imports", os.MFD_CLOEXEC)

    def write(self) -> None:
        """In the child: write which installed modules it has imported, in their order."""
        late = [
            name
            for name, module in list(sys.modules.items())
            if name not in self._known and _is_installed(module)
        ]
        os.pwrite(self._descriptor, json.dumps(late).encode(), 0)

    def read(self) -> list[str]:
        """In the zygote, when the child is gone: return what it wrote, and let go of the memory."""
        size = os.fstat(self._descriptor).st_size
        content = os.pread(self._descriptor, size, 0)
        os.close(self._descriptor)
        late: list[str] = json.loads(content) if content else []
        return [name for name in late if name not in sys.modules]


def import_all(names: Iterable[str]) -> bool:
    """Import modules as far as they can be; False where that has changed a random state.

    A new process would draw those numbers in the middle of its message.
    """
    before = RandomStates.now()
    for name in names:
        if name not in sys.modules:
            with suppress(Exception):  # it was imported in other circumstances; the child will do it again
                importlib.import_module(name)
    return RandomStates.now() == before


def _is_installed(module: ModuleType | None) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.startswith(INSTALLED)
