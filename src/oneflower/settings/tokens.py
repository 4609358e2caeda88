"""The formats of tokens and keys: secrets that an operator creates, and that nobody must be able to guess."""

import re

from oneflower.settings.formats import MAX_TEXT_LENGTH, TextFormat

SHORTEST_TOKEN = 16
SHORTEST_KEY = 32
FEWEST_LEFT = 8
FEWEST_DIFFERENT = 5
# Longer ones first: what contains another is taken out as a whole.
_COMMON = (
    "administrator",
    "opennebula",
    "correcthorse",
    "batterystaple",
    "dashboard",
    "oneflower",
    "changeme",
    "password",
    "passw0rd",
    "p@ssw0rd",
    "superlink",
    "training",
    "default",
    "example",
    "welcome",
    "letmein",
    "flower",
    "secret",
    "qwerty",
    "asdfgh",
    "zxcvbn",
    "monkey",
    "dragon",
    "access",
    "iloveyou",
    "sunshine",
    "token",
    "admin",
    "login",
    "master",
    "please",
    "test",
    "root",
    "user",
    "pass",
    "demo",
)


def _token(text: str) -> str:
    if not re.fullmatch(r"[!-~]*", text):
        raise ValueError("it contains blanks or characters outside printable ASCII")
    if not SHORTEST_TOKEN <= len(text) <= MAX_TEXT_LENGTH:
        raise ValueError(f"it has {len(text)} characters; at least {SHORTEST_TOKEN} are required")
    if is_guessable(text):
        raise ValueError("too little is left of it without common words, repetitions and sequences")
    return text


def is_guessable(token: str) -> bool:
    """Whether a token has too little left when common words, repetitions and sequences are taken out."""
    rest = token.lower()
    for word in _COMMON:
        rest = rest.replace(word, "")
    kept = [
        char
        for before, char in zip(f" {rest}", rest, strict=False)
        if abs(ord(char) - ord(before)) > 1  # neither a repetition nor the next one of a sequence
    ]
    return len(kept) < FEWEST_LEFT or len(set(kept)) < FEWEST_DIFFERENT


def _key(text: str) -> str:
    if len(text) < SHORTEST_KEY:
        raise ValueError(f"it has {len(text)} characters; at least {SHORTEST_KEY} are required")
    return _token(text)


def _expected(shortest: int) -> str:
    return (
        f"at least {shortest} characters, without blanks, of which {FEWEST_LEFT} are left, "
        f"{FEWEST_DIFFERENT} of them different, without common words, repetitions and sequences"
    )


TOKEN = TextFormat(expected=_expected(SHORTEST_TOKEN), parse=_token, command="openssl rand -hex 16")
KEY = TextFormat(expected=_expected(SHORTEST_KEY), parse=_key, command="openssl rand -hex 32")
