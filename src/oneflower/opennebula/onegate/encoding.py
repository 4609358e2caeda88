"""Encode values for OneGate: one unquoted ``KEY=value`` per line.

Its parser fails on commas, brackets, quotes, backslashes, JSON and PEM. So each key has either always base64
or always a plain word.
"""

import base64
import binascii
import re
from collections.abc import Mapping

BASE64_KEYS = frozenset({"FL_CA_CERT", "FL_ERROR", "FL_GPU"})
MAX_ERROR_CHARACTERS = 3000

_KEY = re.compile(r"[A-Z][A-Z0-9_]*")
_PLAIN = re.compile(r"[A-Za-z0-9._:+-]*")


def body(values: Mapping[str, str]) -> str:
    """Return the body that sets these values.

    Raises
    ------
    ValueError
        OneGate would change the key or its value, or OneFlow would take the key for READY.
    """
    return "\n".join(f"{_checked(key)}={encode(key, value)}" for key, value in values.items())


def encode(key: str, value: str) -> str:
    """Return a value as it is written in a body."""
    if not value:
        raise ValueError(
            f"{key} is empty, which OneGate stores as a quote: expected a value; leave out or erase the key"
        )
    if key in BASE64_KEYS:
        return _base64(value)
    if not is_plain(value):
        raise ValueError(f"{key} is {value!r}: expected a plain word; add the key to BASE64_KEYS")
    return value


def is_plain(value: str) -> bool:
    """Whether a value can be written without encoding."""
    return _PLAIN.fullmatch(value) is not None


def decode(key: str, value: str) -> str:
    """Decode a value that another machine has published; ValueError if `encode` did not write it."""
    if key not in BASE64_KEYS:
        return value
    try:
        return base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{key} is not base64 of text: {error}") from None


def _base64(text: str) -> str:
    """Encode a text, padded with newlines to a length that needs no ``=``."""
    content = text.encode("utf-8", errors="replace")
    return base64.b64encode(content + b"\n" * (-len(content) % 3)).decode("ascii")


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"the key {key!r} is not valid: expected upper-case letters, digits and _")
    # OneFlow looks for the substring READY=YES, so FL_READY=YES would open its gate.
    if key.endswith("READY") and key != "READY":
        raise ValueError(f"the key {key!r} ends in READY: expected that only of READY itself")
    return key
