"""What may stand in a OneGate body: ``KEY=value`` lines, unquoted, one a line.

Its parser breaks on commas, brackets, quotes, backslashes, JSON and PEM. So a key either always holds
base64, or never anything but one plain word.
"""

import base64
import binascii
import re
from collections.abc import Mapping

BASE64_KEYS = frozenset({"FL_CA_CERT", "FL_ERROR"})
MAX_ERROR_CHARACTERS = 3000

_KEY = re.compile(r"[A-Z][A-Z0-9_]*")
_PLAIN = re.compile(r"[A-Za-z0-9._:+-]*")


def body(values: Mapping[str, str]) -> str:
    """Return the body that sets these values.

    Raises
    ------
    ValueError
        A key that OneGate would change, one that opens the readiness gate by its ending, or a value that
        is no plain word under a key that holds no base64.
    """
    return "\n".join(f"{_checked(key)}={encode(key, value)}" for key, value in values.items())


def encode(key: str, value: str) -> str:
    """Return a value as it stands in a body."""
    if not value:
        raise ValueError(
            f"{key} would be empty, which OneGate stores as a quote: leave the key out, or erase it"
        )
    if key in BASE64_KEYS:
        return _base64(value)
    if not is_plain(value):
        raise ValueError(f"{key} would be {value!r}, which is no plain word: make it one of BASE64_KEYS")
    return value


def is_plain(value: str) -> bool:
    """Whether a value stands in a body as it is."""
    return _PLAIN.fullmatch(value) is not None


def decode(key: str, value: str) -> str:
    """Read a value that another machine has published; ValueError where it is not what `encode` writes."""
    if key not in BASE64_KEYS:
        return value
    try:
        return base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{key} does not hold base64 of text: {error}") from None


def _base64(text: str) -> str:
    """Encode a text, with newlines behind it up to a length that needs no ``=``."""
    content = text.encode("utf-8", errors="replace")
    return base64.b64encode(content + b"\n" * (-len(content) % 3)).decode("ascii")


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"the key {key!r} is not made of upper-case letters, digits and _")
    # OneFlow looks for the substring READY=YES, so FL_READY=YES would open its gate.
    if key.endswith("READY") and key != "READY":
        raise ValueError(f"the key {key!r} ends in READY, which only READY itself may")
    return key
