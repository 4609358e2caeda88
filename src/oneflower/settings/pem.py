"""The formats of certificates and private keys: PEM in any encoding, to base64 of PEM on one line."""

import base64
import binascii
import re
from collections.abc import Callable

from oneflower.node_keys import keys_of_pem
from oneflower.settings.formats import TextFormat

# Linux refuses a longer single environment string, so a longer one could not have been meant.
MAX_TEXT64_LENGTH = 128 * 1024

_PEM_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----")
_PEM_LINE_CHARACTERS = 64
# OpenNebula's command line encodes a text64 answer itself, also one that is base64 already.
_MOST_ENCODINGS = 2


def _pem(label: str) -> Callable[[str], str]:
    """Return a parser of PEM that is plain or encoded in base64 once or twice; it returns base64 on one line.

    Blocks of another label are dropped: a key beside a certificate must not be published with it.
    """

    def parse(text: str) -> str:
        if len(text) > MAX_TEXT64_LENGTH:
            raise ValueError(f"it has {len(text)} characters; at most {MAX_TEXT64_LENGTH} are allowed")
        pem = _decoded(text)
        _check_label(pem, label)
        blocks = [pair for pair in _PEM_BLOCK.findall(pem) if pair[0].endswith(label.encode())]
        if not blocks:
            raise ValueError(f"it is truncated: the line -----END {label}----- is missing")
        return base64.b64encode(b"".join(_block(*pair) for pair in blocks)).decode()

    return parse


def _public_keys(text: str) -> str:
    """Parse public keys, and refuse what no SuperNode can have."""
    parsed = _pem("PUBLIC KEY")(text)
    keys_of_pem(parsed)
    return parsed


def _decoded(text: str) -> bytes:
    content = text.encode("utf-8", "replace")
    for _ in range(_MOST_ENCODINGS):
        if b"-----BEGIN" in content:
            break
        try:
            content = base64.b64decode(b"".join(content.split()), validate=True)
        except binascii.Error:
            raise ValueError("it is neither PEM nor base64 of PEM") from None
    return content


def _check_label(pem: bytes, label: str) -> None:
    labels = [found.decode() for found in _PEM_LABEL.findall(pem)]
    if not labels:
        raise ValueError("it decodes to something without a line -----BEGIN ...-----")
    if not any(found.endswith(label) for found in labels):
        raise ValueError(f"it contains {labels[0]}, not {label}")
    if "ENCRYPTED PRIVATE KEY" in labels or b"4,ENCRYPTED" in pem:
        raise ValueError("the key has a passphrase, which nobody can type at boot")


def _block(label: bytes, body: bytes) -> bytes:
    """Write one block in one normal form; a web form may have turned its line breaks into blanks."""
    compact = b"".join(body.split())
    try:
        base64.b64decode(compact, validate=True)
    except binascii.Error:
        raise ValueError(f"the text after -----BEGIN {label.decode()}----- is not base64") from None
    starts = range(0, len(compact), _PEM_LINE_CHARACTERS)
    lines = b"".join(compact[start : start + _PEM_LINE_CHARACTERS] + b"\n" for start in starts)
    return b"-----BEGIN " + label + b"-----\n" + lines + b"-----END " + label + b"-----\n"


CERTIFICATE = TextFormat(
    expected="a PEM certificate, plain or in base64",
    command="base64 -w0 certificate.pem",
    parse=_pem("CERTIFICATE"),
)
PRIVATE_KEY = TextFormat(
    expected="a PEM private key without passphrase, plain or in base64",
    command="base64 -w0 key.pem",
    parse=_pem("PRIVATE KEY"),
)
PUBLIC_KEYS = TextFormat(
    expected="PEM public keys of the curves P-256, P-384 or P-521, plain or in base64",
    command="base64 -w0 node-keys.pem",
    parse=_public_keys,
)
