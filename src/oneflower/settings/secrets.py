"""What a message may show of a value: nothing of a secret, whichever variable it was given to."""

import base64
import binascii
import re
from typing import Final

from oneflower.settings.tokens import SHORTEST_TOKEN, is_guessable
from oneflower.settings.values import Text64
from oneflower.settings.variable import Variable

_SHOWN_CHARACTERS: Final = 60
_HEX: Final = re.compile(rf"[0-9a-fA-F]{{{SHORTEST_TOKEN},}}")
_WORD: Final = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
# Where a path was written in place of a file's content; base64 holds neither dots nor tildes.
_PATH: Final = re.compile(r"[A-Za-z0-9/_~ -]*\.[A-Za-z0-9/_~ .-]*")
_PRIVATE: Final = "PRIVATE KEY"


def shown(variable: Variable, text: str) -> str:
    """Quote a value for a message: escaped and shortened, and only its length if it is, or may be, secret."""
    if variable.secret or looks_secret(text):
        return f"(secret, {len(text)} characters)"
    if isinstance(variable.kind, Text64) and not _is_path(text):
        return f"({len(text)} characters)"
    if len(text) > _SHOWN_CHARACTERS:
        return f"{text[:_SHOWN_CHARACTERS]!r}... ({len(text)} characters)"
    return repr(text)


def reason_shown(variable: Variable, text: str, reason: str) -> str:
    """Return why a value is refused; a reason may quote it, which one that looks like a secret forbids."""
    if looks_secret(text) and not variable.secret and not isinstance(variable.kind, Text64):
        return "it looks like a secret, and is none here"
    return reason


def looks_secret(text: str) -> bool:
    """Tell whether a value holds a private key, or is a random word as keys and tokens are."""
    if holds_private_key(text):
        return True
    word = text.strip()
    if _HEX.fullmatch(word):
        return not is_guessable(word)
    kinds = (re.search(kind, word) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return bool(_WORD.fullmatch(word)) and all(kinds) and not is_guessable(word)


def holds_private_key(text: str) -> bool:
    """Tell whether a text holds a private key as PEM, plain or in base64, whatever stands beside it."""
    return any(_PRIVATE in each for each in (text, *_decodings(text)))


def _decodings(text: str) -> list[str]:
    """Decode base64 once and twice, as far as it goes: it may have been cut."""
    found: list[str] = []
    for _ in range(2):
        compact = "".join((found[-1] if found else text).split())
        try:
            content = base64.b64decode(compact[: len(compact) // 4 * 4], validate=True)
        except (binascii.Error, ValueError):
            return found
        found.append(content.decode("latin-1"))
    return found


def _is_path(text: str) -> bool:
    return len(text) <= _SHOWN_CHARACTERS and _PATH.fullmatch(text) is not None
