"""Which error is of which kind: the one table that says what is final and what is tried again.

The supervisor, `oneflower up`, the ServerApp's events and the appliance's stages all ask `kind_of`.
"""

import errno
import sqlite3
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final

from oneflower.errors import (
    AppError,
    CheckpointError,
    ClusterError,
    FlowerVersionError,
    FolderLockedError,
    ForeignError,
    GpuError,
    MachineError,
    OneflowerError,
    SettingsError,
    StateError,
    TrainingError,
)


class ErrorKind(StrEnum):
    """What is to be done about an error.

    SETTINGS is final: somebody has to change the settings, the model or the checkpoint. APP may pass once;
    the same twice is final. ENVIRONMENT passes: back off, tell it, try again. CLIENT costs that client its
    round, and nobody else anything.
    """

    SETTINGS = "settings"
    APP = "app"
    ENVIRONMENT = "environment"
    CLIENT = "client"


# What the system refuses now and may grant later. Every other errno is a wrong path, or a defect.
PASSING_ERRNOS: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
        errno.ESTALE,
        errno.EMFILE,
        errno.ENFILE,
        errno.EAGAIN,
        errno.ENOMEM,
        errno.EBUSY,
        errno.ETXTBSY,
        errno.EINTR,
        errno.ENOENT,
        errno.ENOLCK,
        errno.ENODEV,
        errno.ENXIO,
        errno.EREMOTEIO,
        errno.ENOTCONN,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EPIPE,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
    }
)

# The nearest class of an error's own decides, after the errno of an OSError that caused it.
KINDS: Final[Mapping[type[BaseException], ErrorKind]] = {
    SettingsError: ErrorKind.SETTINGS,
    AppError: ErrorKind.SETTINGS,
    CheckpointError: ErrorKind.SETTINGS,
    ForeignError: ErrorKind.SETTINGS,
    FolderLockedError: ErrorKind.ENVIRONMENT,
    ClusterError: ErrorKind.ENVIRONMENT,
    FlowerVersionError: ErrorKind.SETTINGS,
    StateError: ErrorKind.ENVIRONMENT,
    TrainingError: ErrorKind.SETTINGS,
    MachineError: ErrorKind.ENVIRONMENT,
    GpuError: ErrorKind.SETTINGS,
    MemoryError: ErrorKind.ENVIRONMENT,
    sqlite3.Error: ErrorKind.ENVIRONMENT,
    Exception: ErrorKind.APP,
}


def kind_of(error: BaseException) -> ErrorKind:
    """Return the kind of an error, from its own word, the errno of its cause, or its class."""
    if isinstance(error, OneflowerError) and error.passing is not None:
        return ErrorKind.ENVIRONMENT if error.passing else ErrorKind.SETTINGS
    if isinstance(error, SettingsError):
        return ErrorKind.SETTINGS  # also where a file that the settings name is not there
    number = next((each.errno for each in _causes(error) if isinstance(each, OSError) and each.errno), None)
    if number is not None:
        return ErrorKind.ENVIRONMENT if number in PASSING_ERRNOS else _of_a_path(error)
    return next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), ErrorKind.APP)


def may_pass(error: BaseException) -> bool:
    """Whether the same may succeed later without anybody changing the settings or the app."""
    return kind_of(error) is ErrorKind.ENVIRONMENT


def kind_named(text: object) -> ErrorKind | None:
    """Read a kind from an event of the journal; None where it has none, or one of a later version."""
    return ErrorKind(text) if isinstance(text, str) and text in set(ErrorKind) else None


def _of_a_path(error: BaseException) -> ErrorKind:
    """Return the kind of an OSError that does not pass, such as a file where a folder should be."""
    return ErrorKind.SETTINGS if isinstance(error, OneflowerError) else ErrorKind.APP


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, not what was handled meanwhile."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__
