"""The token that `oneflower up` draws for its dashboard, kept so that a restart has the same link."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from oneflower.files import open_to_read, replace_file
from oneflower.settings.tokens import TOKEN

BYTES: Final = 16
LONGEST_FILE: Final = 256


def kept_token(file: Path) -> str:
    """Return the token in `file`, or a new one that is written there for its user alone.

    A file that another user owns, could read or could write holds no secret of ours. Where none can be
    written, the token lasts as long as this process.
    """
    with suppress(OSError, ValueError):
        return _read(file)
    token = secrets.token_hex(BYTES)
    with suppress(OSError):
        replace_file(file, f"{token}\n".encode(), mode=0o600, umask=False)
    return token


def _read(file: Path) -> str:
    with open_to_read(file, follow=False) as opened:
        found = os.fstat(opened.fileno())
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise ValueError("another user wrote it or can read it")
        return TOKEN.parse(opened.read(LONGEST_FILE).decode("ascii").strip())
