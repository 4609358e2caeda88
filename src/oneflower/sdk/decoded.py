"""Decode a client's data once, and keep the arrays on its disk for the messages that follow.

Each message runs in a process of its own, which would otherwise parse the same CSV or images again. The
arrays are kept in the folder that ONEFLOWER_DATA_CACHE names. Whatever is wrong with what is kept there,
the data are decoded as if nothing were kept.
"""

import hashlib
import mmap
import os
import time
from collections.abc import Callable, Mapping
from logging import WARNING
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oneflower.errors import AppError
from oneflower.flower.api import log
from oneflower.flower.arguments import DATA_CACHE_VARIABLE
from oneflower.foreign_text import printable
from oneflower.sdk.decoded_source import code_of, state_of
from oneflower.sdk.decoded_store import DecodedStore

__all__ = ["cached_arrays"]

Arrays = dict[str, NDArray[Any]]
Setting = str | int | float | bool | None

SETTLED_NS: Final = 2 * 10**9
"""A file that has just changed may change once more in the same tick of its file system's clock."""
# Shared by the children that a warm process forks, so that they say something once, not once a message.
_SAID: Final = mmap.mmap(-1, mmap.PAGESIZE)


def cached_arrays(
    decode: Callable[..., Mapping[str, NDArray[Any]]], source: Path, *settings: Setting
) -> Arrays:
    """Return ``decode(source, *settings)``, from the disk where it was decoded before.

    The arrays belong to the caller: they may be written to, and nobody else sees it.

    Parameters
    ----------
    decode
        A function of a module. Its result may depend on nothing but its arguments, the code of its package
        and the installed packages: where one of these changes, it is called again.
    source
        The file or folder that is decoded. In a folder, every file counts.
    settings
        Whatever else the result depends on.

    Returns
    -------
    dict
        The arrays by name, each in C order.

    Raises
    ------
    AppError
        ``decode`` is no function of a module, a setting is none, or the result is no mapping of arrays. What
        ``decode`` raises is raised as it is.
    """
    _check(decode, settings)
    named = os.environ.get(DATA_CACHE_VARIABLE)
    if not named:
        return _decoded(decode, source, settings)
    try:
        before, newest_ns = state_of(source)
        key = _digest(before, code_of(decode))
    except (OSError, ValueError) as error:
        if source.exists():
            _say(f"the source {source} cannot be compared: {error}")
        return _decoded(decode, source, settings)
    name = _digest(decode.__module__, decode.__qualname__, str(source.absolute()), *settings)
    store = DecodedStore(Path(named), say=_say)
    kept = store.load(name, key)
    if kept is not None:
        return kept
    arrays = _decoded(decode, source, settings)
    if time.time_ns() - newest_ns > SETTLED_NS and _is_unchanged(source, before):
        store.save(name, key, arrays)
    return arrays


def _decoded(
    decode: Callable[..., Mapping[str, NDArray[Any]]], source: Path, settings: tuple[Setting, ...]
) -> Arrays:
    """Decode into arrays in C order, as they come back from the disk: sums depend on the order."""
    found = decode(source, *settings)
    is_right = isinstance(found, Mapping) and all(
        isinstance(name, str) and type(array) is np.ndarray for name, array in found.items()
    )
    if not is_right:
        raise AppError(
            f"{decode.__qualname__} returned {type(found).__name__}; expected a dict of NumPy arrays by "
            "name. Return {'x': x, 'y': y}"
        )
    return {name: np.asarray(array, order="C") for name, array in found.items()}


def _check(decode: Callable[..., Any], settings: tuple[Setting, ...]) -> None:
    name = getattr(decode, "__qualname__", repr(decode))
    if "<" in name or getattr(decode, "__closure__", None) is not None or not hasattr(decode, "__code__"):
        raise AppError(
            f"{name} is not a function of a module: what a lambda, a partial or an inner function holds "
            "cannot be compared. Define it at the top of a module, and pass what it needs as settings"
        )
    for setting in settings:
        if type(setting) not in {str, int, float, bool, type(None)}:
            raise AppError(
                f"a setting of {name} is a {type(setting).__name__}; expected str, int, float, bool or None. "
                "Pass its parts one by one"
            )


def _is_unchanged(source: Path, before: str) -> bool:
    try:
        return state_of(source)[0] == before
    except (OSError, ValueError):
        return False


def _digest(*parts: Setting) -> str:
    return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()


def _say(reason: str) -> None:
    """Log once, in whichever of the processes that were forked from one."""
    if not _SAID[0]:
        _SAID[0] = 1
        log(WARNING, "decoded data are not kept, each message decodes them reason=%s", printable(reason))
