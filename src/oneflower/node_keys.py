"""The public keys of SuperNodes: one strict form, whoever wrote them, and the pins on disk.

A key is identified by its bytes. Only uncompressed points of the NIST curves P-256, P-384 and P-521 are keys:
what Flower takes, and each has one form only.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Self

from oneflower.bounded_json import parse_json

# SubjectPublicKeyInfo (RFC 5480) up to the point, by the length of the whole.
_PREFIXES: Final = {
    91: bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),
    120: bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004"),
    158: bytes.fromhex("30819b301006072a8648ce3d020106052b810400230381860004"),
}
_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,220}", re.ASCII)
_VM_ID: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_PEM_LINE: Final = 64
FINGERPRINT_DIGITS: Final = 16
MOST_PINS: Final = 10_000

KEYS_VARIABLE: Final = "ONEFLOWER_NODE_KEYS"
"""The environment variable that names the file of pins for a SuperLink."""


@dataclass(frozen=True, slots=True)
class NodeKey:
    """A public key as DER; ValueError if it is no key of a SuperNode."""

    der: bytes

    def __post_init__(self) -> None:
        prefix = _PREFIXES.get(len(self.der))
        if prefix is None or not self.der.startswith(prefix):
            raise ValueError("it is not the public key of a NIST curve (P-256, P-384 or P-521)")

    @classmethod
    def from_word(cls, word: object) -> Self:
        """Parse the text of `word`; ValueError for anything else."""
        if not isinstance(word, str) or not _WORD.fullmatch(word):
            raise ValueError("it is not a public key in URL-safe base64")
        try:
            key = cls(base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True))
        except binascii.Error:
            raise ValueError("it is not a public key in URL-safe base64") from None
        if key.word != word:
            raise ValueError("it is not written as a public key in URL-safe base64 is")
        return key

    @property
    def word(self) -> str:
        """The key as a plain word: URL-safe base64 without padding."""
        return base64.urlsafe_b64encode(self.der).rstrip(b"=").decode("ascii")

    @property
    def pem(self) -> bytes:
        """The key as PEM, byte for byte as Flower writes it."""
        text = base64.b64encode(self.der)
        lines = b"".join(text[start : start + _PEM_LINE] + b"\n" for start in range(0, len(text), _PEM_LINE))
        return b"-----BEGIN PUBLIC KEY-----\n" + lines + b"-----END PUBLIC KEY-----\n"

    @property
    def fingerprint(self) -> str:
        """The first digits of the key's SHA-256, to compare by eye."""
        return hashlib.sha256(self.der).hexdigest()[:FINGERPRINT_DIGITS]


def fingerprint_of(pem: bytes) -> str:
    """Return the fingerprint of a key that somebody sent as PEM; of its bytes if it is no key."""
    try:
        return NodeKey(der_of(pem)).fingerprint
    except ValueError:
        return hashlib.sha256(pem).hexdigest()[:FINGERPRINT_DIGITS]


def der_of(pem: bytes) -> bytes:
    """Return the content of one PEM block; ValueError if it is not base64."""
    body = b"".join(line for line in pem.split(b"\n") if line and not line.startswith(b"-----"))
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise ValueError("it is not base64") from None


def keys_of_pem(text: str) -> tuple[NodeKey, ...]:
    """Return the keys of a parsed FL_NODE_KEYS (base64 of PEM); ValueError with the first that is none."""
    if not text:
        return ()
    keys = []
    for number, block in enumerate(base64.b64decode(text).split(b"-----END PUBLIC KEY-----\n"), start=1):
        if not block:
            continue
        try:
            keys.append(NodeKey(der_of(block)))
        except ValueError as error:
            raise ValueError(f"key {number}: {error}") from None
    return tuple(dict.fromkeys(keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The keys of the VMs of a service: the first key of each VM, and other keys that came in its name.

    Attributes
    ----------
    keys
        By VM id.
    changed
        By VM id, the fingerprint of another key that the VM's template shows now.
    """

    keys: Mapping[int, NodeKey] = field(default_factory=lambda: MappingProxyType({}))
    changed: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))

    def follow(self, members: frozenset[int], claims: Mapping[int, NodeKey]) -> "Pins":
        """Return the pins after a look at the service: a key is pinned once, and kept while its VM is there.

        Two VMs never have one key: it stays with the VM that had it first.
        """
        keys = {vm: key for vm, key in self.keys.items() if vm in members}
        changed = {}
        for vm, key in sorted(claims.items()):
            if vm not in members:
                continue
            if vm not in keys and key not in keys.values() and len(keys) < MOST_PINS:
                keys[vm] = key
            elif keys.get(vm) != key:
                changed[vm] = key.fingerprint
        return Pins(keys=keys, changed=changed)

    def text(self) -> str:
        """Return the pins as a file's text."""
        rows = {str(vm): key.word for vm, key in sorted(self.keys.items())}
        changed = {str(vm): text for vm, text in sorted(self.changed.items())}
        return json.dumps({"keys": rows, "changed": changed}, indent=1) + "\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a file; ValueError if `text` did not write it."""
        try:
            content: dict[str, Any] = parse_json(text)
            keys = {_vm(vm): NodeKey.from_word(word) for vm, word in content["keys"].items()}
            changed = {_vm(vm): str(mark)[:FINGERPRINT_DIGITS] for vm, mark in content["changed"].items()}
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"it is not a table of keys ({type(error).__name__})") from None
        return cls(keys=keys, changed=changed)


def _vm(text: str) -> int:
    if not _VM_ID.fullmatch(text):
        raise ValueError(f"{text[:20]!r} is not a VM id")
    return int(text)
