"""The formats of certificates and private keys: PEM in any encoding, to base64 of PEM on one line."""

import base64
import binascii
import codecs
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from oneflower.node_keys import keys_of_pem
from oneflower.settings.formats import TextFormat

# Linux refuses a longer single environment string, so a longer one could not have been meant.
MAX_TEXT64_LENGTH = 128 * 1024

_MARKER = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]{1,40})-----")
_BROKEN_MARKER = re.compile(rb"-----[A-Z]")
_OPENSSH_LINE = re.compile(rb"\s*(ecdsa-sha2-|ssh-|sk-|---- BEGIN SSH2)")
_PUBLIC_KEY = b"PUBLIC KEY"
_HOW_TO_WRITE = "`ssh-keygen -e -m PKCS8 -f node.key > node-keys.pem` writes its public key as PEM"
_PEM_LINE_CHARACTERS = 64
# OpenNebula's command line encodes a text64 answer itself, also one that is base64 already.
_MOST_ENCODINGS = 2


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The label and body of each block, and the text before, between and after them."""

    blocks: tuple[tuple[bytes, bytes], ...]
    outside: tuple[bytes, ...]


def _pem(label: str) -> Callable[[str], str]:
    """Return a parser of PEM that is plain or encoded in base64 once or twice; it returns base64 on one line.

    Blocks of another label are dropped: a key beside a certificate must not be published with it. Text
    outside of blocks is dropped, too: `openssl x509 -text` writes some.
    """

    def parse(text: str) -> str:
        pem = _decoded(text)
        _check_label(pem, label)
        found = _paired(pem)
        if any(_BROKEN_MARKER.search(rest) for rest in found.outside):
            raise ValueError("it has a line -----BEGIN ...----- or -----END ...----- that is incomplete")
        return _normal([block for block in found.blocks if block[0].endswith(label.encode())])

    return parse


def _public_keys(text: str) -> str:
    """Parse public keys, and refuse what no SuperNode can have.

    Anything else in the text is refused, too: a key that is left out would keep its SuperNode out.
    """
    pem = _decoded(text)
    if _OPENSSH_LINE.match(pem):
        raise ValueError(f"it is a public key in OpenSSH's form, not PEM ({_HOW_TO_WRITE})")
    _check_label(pem, "PUBLIC KEY")
    found = _paired(pem)
    for number, (label, _) in enumerate(found.blocks, start=1):
        if label != _PUBLIC_KEY:
            raise ValueError(f"block {number} is {_other_label(label.decode(), 'PUBLIC KEY')}")
    for number, rest in enumerate(found.outside):
        if rest.strip():
            where = f"after key {number}" if number else "before key 1"
            how = f" ({_HOW_TO_WRITE})" if _OPENSSH_LINE.match(rest) else ""
            raise ValueError(f"the text {where} ({len(rest.strip())} bytes) is no key in PEM{how}")
    parsed = _normal(found.blocks)
    keys_of_pem(parsed)
    return parsed


def _decoded(text: str) -> bytes:
    if len(text) > MAX_TEXT64_LENGTH:
        raise ValueError(f"it has {len(text)} characters; at most {MAX_TEXT64_LENGTH} are allowed")
    content = text.encode("utf-8", "replace")
    for _ in range(_MOST_ENCODINGS):
        if b"-----BEGIN" in content or _OPENSSH_LINE.match(content):
            break
        try:
            content = base64.b64decode(b"".join(content.split()), validate=True)
        except binascii.Error:
            raise ValueError("it is neither PEM nor base64 of PEM") from None
    return content.removeprefix(codecs.BOM_UTF8)


def _check_label(pem: bytes, label: str) -> None:
    labels = [found[1].decode() for found in _MARKER.findall(pem) if found[0] == b"BEGIN"]
    if not labels:
        raise ValueError("it decodes to something without a line -----BEGIN ...-----")
    if not any(found.endswith(label) for found in labels):
        first = next((found for found in labels if found.endswith("PRIVATE KEY")), labels[0])
        raise ValueError(f"it contains {_other_label(first, label)}")
    if "ENCRYPTED PRIVATE KEY" in labels or b"4,ENCRYPTED" in pem:
        raise ValueError("the key has a passphrase, which nobody can type at boot")


def _other_label(found: str, wanted: str) -> str:
    """Say what is there in place of what is wanted, and how to write the public key of a private one."""
    how = f" ({_HOW_TO_WRITE})" if found.endswith("PRIVATE KEY") and wanted == "PUBLIC KEY" else ""
    return f"{found}, not {wanted}{how}"


def _paired(pem: bytes) -> _Blocks:
    """Take PEM apart; ValueError with the number of the first block that lacks its first or its last line."""
    blocks: list[tuple[bytes, bytes]] = []
    outside: list[bytes] = []
    open_label, at = None, 0
    for marker in _MARKER.finditer(pem):
        (what, label), text, at = marker.groups(), pem[at : marker.start()], marker.end()
        if what == b"BEGIN":
            _require_closed(open_label, blocks)
            outside.append(text)
            open_label = label
        elif label == open_label:
            blocks.append((label, text))
            open_label = None
        else:
            _require_closed(open_label, blocks)
            raise ValueError(
                f"{_truncated(label, blocks)}: the line -----BEGIN {label.decode()}----- is missing"
            )
    _require_closed(open_label, blocks)
    return _Blocks(tuple(blocks), (*outside, pem[at:]))


def _require_closed(label: bytes | None, blocks: list[tuple[bytes, bytes]]) -> None:
    if label is not None:
        raise ValueError(f"{_truncated(label, blocks)}: the line -----END {label.decode()}----- is missing")


def _truncated(label: bytes, before: list[tuple[bytes, bytes]]) -> str:
    number = 1 + sum(each[0] == label for each in before)
    return f"{label.decode()} {number} is truncated"


def _normal(blocks: Iterable[tuple[bytes, bytes]]) -> str:
    written = (_block(label, body, number) for number, (label, body) in enumerate(blocks, start=1))
    return base64.b64encode(b"".join(written)).decode()


def _block(label: bytes, body: bytes, number: int) -> bytes:
    """Write one block in one normal form; a web form may have turned its line breaks into blanks."""
    compact = b"".join(body.split())
    try:
        base64.b64decode(compact, validate=True)
    except binascii.Error:
        name = label.decode()
        raise ValueError(f"the text after -----BEGIN {name}----- is not base64 ({name} {number})") from None
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
