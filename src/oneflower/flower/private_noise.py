"""The noise of differential privacy comes from a key that nobody else has, and not from FL_SEED.

Flower's wrappers and mods draw it from NumPy's global generator. That is seeded from FL_SEED here, which
every client and the server know: they could compute the noise and take it away again. So the modules that
draw noise get a generator of their own. The server's key is in the checkpoints alone, a client's on the
disk of its machine: a resumed training draws the same noise.
"""

import hashlib
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, Final

import numpy as np

from oneflower.errors import StateError
from oneflower.files import read_bytes, replace_file
from oneflower.flower.api import RecordDict
from oneflower.flower.door import port

KEY_VARIABLE: Final = "ONEFLOWER_NOISE_KEY"
"""A key for all processes, to compare trainings byte by byte; whoever knows it knows the noise."""
KEY_BYTES: Final = 16
_FILE: Final = "noise-key"

_random = np.random.RandomState()


class _Numpy:
    """NumPy as a module that draws noise sees it: its generator is `_random`."""

    random = _random

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


_NUMPY: Final = _Numpy()


def keep_noise_private() -> None:
    """Give their own generator to the modules of Flower's that draw noise, as far as they are imported.

    They also get a norm by which can be divided.
    """
    for name in port.NOISE_MODULES:
        module = sys.modules.get(name)
        if module is not None and getattr(module, "np", None) is np:
            module.np = _NUMPY  # type: ignore[attr-defined]
            if hasattr(module, "get_norm"):
                module.get_norm = _above_0(module.get_norm)  # type: ignore[attr-defined]


def _above_0(norm: Callable[..., float]) -> Callable[..., float]:
    """Return Flower's norm of an update, which it divides by: an update of nothing has the smallest one.

    A client that sends back the model as it came ends the training without. Nothing is clipped of it.
    """

    @wraps(norm)
    def get_norm(*arguments: Any, **named: Any) -> float:
        return norm(*arguments, **named) or sys.float_info.min

    return get_norm


def seed_noise(key: str, *parts: int | str) -> None:
    """Seed the noise from a key and the place in the training."""
    keep_noise_private()
    digest = hashlib.sha256("/".join(["noise", key, *map(str, parts)]).encode()).digest()
    _random.seed(np.frombuffer(digest, np.uint32))


def digest_of(*contents: RecordDict) -> str:
    """Return the SHA-256 of arrays and configs: other contents get other noise."""
    digest = hashlib.sha256()
    for content in contents:
        for name, record in content.array_records.items():
            for key, array in record.items():
                digest.update(f"{name}/{key}/{array.dtype}/{array.shape}".encode() + array.data)
        for name, config in content.config_records.items():
            digest.update(f"{name}/{sorted(config.items())!r}".encode())
    return digest.hexdigest()


def draws_noise() -> bool:
    """Return whether a module that draws noise is imported in this process."""
    return any(name in sys.modules for name in port.NOISE_MODULES)


def new_key() -> str:
    """Return a new key, or that of the environment."""
    return os.environ.get(KEY_VARIABLE) or secrets.token_hex(KEY_BYTES)


def key_of_machine(folder: Path | None) -> str:
    """Return the key that a folder keeps, made where there is none; without a folder one of this process.

    Raises
    ------
    StateError
        The folder cannot be used.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given or folder is None:
        return given or _OF_PROCESS
    path = folder / _FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _make(path)
        key = read_bytes(path, 2 * KEY_BYTES, follow=False).decode("ascii")
        length = len(bytes.fromhex(key))
    except (OSError, ValueError) as error:
        raise StateError(
            f"the key of the noise cannot be kept in {path} ({error}): expected a folder that this user can "
            "write"
        ) from error
    if length != KEY_BYTES:
        raise StateError(
            f"the key of the noise in {path} has {length} bytes; expected {KEY_BYTES}: delete it to draw "
            "other noise from now on"
        )
    return key


def key_of_training(key: str, training: str) -> str:
    """Return a machine's key for one training: data that have changed since another one are not told.

    A key of the environment is there to compare trainings, and is that of each of them.
    """
    return key if os.environ.get(KEY_VARIABLE) else f"{key}/{training}"


_OF_PROCESS: Final = secrets.token_hex(KEY_BYTES)


def _make(path: Path) -> None:
    trial = path.with_name(f"{_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    replace_file(trial, secrets.token_hex(KEY_BYTES).encode(), mode=0o600)
    with suppress(FileExistsError):
        os.link(trial, path)  # of two processes the first one wins
    trial.unlink()
