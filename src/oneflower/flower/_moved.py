"""Old import paths of what apps import, as aliases of `oneflower.sdk` for one release."""

import importlib
import sys
import warnings


def warn_moved(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warn of an old name at the line of the app that uses it."""
    warnings.warn(
        f"{old} is deprecated and will be removed in the next release: import {new}",
        DeprecationWarning,
        stacklevel=stacklevel,
    )


def alias(old: str, new: str) -> None:
    """Make the module `old`, which is being imported, the module `new`."""
    warn_moved(old, new, stacklevel=4)
    sys.modules[old] = importlib.import_module(new)
