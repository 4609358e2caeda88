"""The token that `oneflower up` draws for its dashboard at each start, in a file for programs."""

import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from oneflower.files import replace_file

BYTES: Final = 16


def new_token(file: Path) -> str:
    """Draw a token and write it to `file`, for its user alone.

    Whatever was in the file before is replaced: who listened on the port while nothing ran may have been sent
    the token of an earlier start. Where none can be written, the token is in the printed link only.
    """
    token = secrets.token_hex(BYTES)
    with suppress(OSError):
        replace_file(file, f"{token}\n".encode(), mode=0o600, umask=False)
    return token
