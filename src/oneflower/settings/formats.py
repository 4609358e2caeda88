"""What the text variables must look like: addresses, paths, certificates, pairs."""

import base64
import binascii
import ipaddress
import math
import re
import tomllib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from oneflower.quality import Wanted

FLOWER_VERSION = "1.25.0"
MAX_TEXT_LENGTH = 4096
SHORTEST_TOKEN = 16
# Linux refuses a longer single environment string, so a longer one could not have been meant.
MAX_TEXT64_LENGTH = 128 * 1024

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
# The pattern with which flower-supernode 1.25.0 finds pairs; what it does not find it drops without a word.
_PAIR = re.compile(r"(\S+?)=('[^']*'|\"[^\"]*\"|\S+)")
_PEM_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----")
_PEM_LINE_CHARACTERS = 64
# OpenNebula's command line encodes a text64 answer itself, also one that is base64 already.
_MOST_ENCODINGS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFormat:
    """A form that a text must have.

    Attributes
    ----------
    expected
        The form in words, for errors and documents.
    example
        A value that passes.
    parse
        Returns the text in its normal form; raises ValueError with the reason.
    """

    expected: str
    example: str
    parse: Callable[[str], str]


def printable(text: str) -> str:
    """Return `text` where every character can be shown.

    Raises
    ------
    ValueError
        For control characters, undecodable bytes and more than MAX_TEXT_LENGTH characters.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(f"it has {len(text)} characters, {MAX_TEXT_LENGTH} are the most")
    for character in text:
        if unicodedata.category(character) == "Cs":
            raise ValueError("it holds bytes that are not UTF-8")
        if unicodedata.category(character) in {"Cc", "Zl", "Zp"}:
            raise ValueError(f"it holds the control character {character!r}")
    return text


def _version(text: str) -> str:
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", text):
        raise ValueError("it is not of the form X.Y.Z")
    if text != FLOWER_VERSION:
        raise ValueError("another version than the one in this release could not be run")
    return text


def split_address(text: str) -> tuple[str, int]:
    """Split ``host:port``, an IPv6 host in brackets, into host (without brackets) and port.

    Raises
    ------
    ValueError
        With the reason why `text` is no such address.
    """
    if "://" in text:
        raise ValueError("it starts with a scheme; only host:port is wanted")
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port:
        raise ValueError("the host or the port is missing")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{port[:20]!r} is no port from 1 to 65535")
    return _host(host), int(port)


def _host(text: str) -> str:
    bracketed = text.startswith("[") and text.endswith("]")
    if not bracketed and ":" in text:
        raise ValueError("an IPv6 address stands in brackets, as in [::1]:9092")
    host = text[1:-1] if bracketed else text
    if bracketed or re.fullmatch(r"[0-9.]+", host):
        if "%" in host:
            raise ValueError("an IPv6 address has no zone here")
        try:
            return str(ipaddress.IPv6Address(host) if bracketed else ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(f"{host[:60]!r} is no IP address") from None
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise ValueError(f"{host[:60]!r} is no host name or IP address")
    return host


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen_address(text: str) -> str:
    split_address(printable(text))
    return text


def _connect_address(text: str) -> str:
    host, _ = split_address(printable(text))
    if host in {"0.0.0.0", "::"}:  # noqa: S104  (it is refused here)
        raise ValueError(f"{host} is an address to listen on, not one to connect to")
    return text


def _token(text: str) -> str:
    if not re.fullmatch(r"[!-~]*", text):
        raise ValueError("it holds blanks, or characters that no keyboard is sure to have")
    if not SHORTEST_TOKEN <= len(text) <= MAX_TEXT_LENGTH:
        raise ValueError(f"it has {len(text)} characters, {SHORTEST_TOKEN} are the fewest")
    return text


def _absolute_path(text: str) -> str:
    path = PurePosixPath(printable(text))
    if not path.is_absolute() or not path.name:
        raise ValueError("it is not a folder below /, written in full")
    if ".." in path.parts:
        raise ValueError("it holds the part ..")
    return text


def _relative_path(text: str) -> str:
    path = PurePosixPath(printable(text))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("it leaves the state folder")
    if not path.parts or text.endswith("/"):
        raise ValueError("it names no file")
    if any(part.startswith("-") for part in path.parts):
        raise ValueError("a part of it starts with -, which a command would take for an option")
    return text


def _node_config(text: str) -> str:
    """Check pairs as flower-supernode reads them, and refuse what it would drop silently."""
    if _PAIR.sub("", printable(text)).strip():
        raise ValueError(f"{_PAIR.sub('', text).strip()[:60]!r} is not of the form key=value")
    lines = "\n".join(f"{key} = {value}" for key, value in _PAIR.findall(text))
    try:
        parsed = tomllib.loads(lines)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is no TOML ({error}); text values are quoted") from None
    for key, value in parsed.items():
        if not isinstance(value, bool | int | float | str):
            raise ValueError(f"the value of {key!r} is no truth value, number or text")  # noqa: TRY004
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"the value of {key!r} does not fit 64 bits")
    return text


def _metric(text: str) -> str:
    """Check a metric's name as `oneflower.quality` reads it; a loss wants the minus sign."""
    Wanted.parse(printable(text))
    return text


def _real_number(text: str) -> str:
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text[:MAX_TEXT_LENGTH]):
        raise ValueError("it is no finite number")
    if not math.isfinite(float(text)):
        raise ValueError("it is no finite number")
    return text


def _pem(label: str) -> Callable[[str], str]:
    """Return a parser from PEM, encoded as base64 not at all, once or twice, to one line of base64 of PEM.

    Blocks of another label are dropped: a key that lies beside a certificate must not be handed out with it.
    """

    def parse(text: str) -> str:
        if len(text) > MAX_TEXT64_LENGTH:
            raise ValueError(f"it has {len(text)} characters, {MAX_TEXT64_LENGTH} are the most")
        pem = _decoded(text)
        _check_label(pem, label)
        blocks = [pair for pair in _PEM_BLOCK.findall(pem) if pair[0].endswith(label.encode())]
        if not blocks:
            raise ValueError(f"it is cut off: the line -----END {label}----- is missing")
        return base64.b64encode(b"".join(_block(*pair) for pair in blocks)).decode()

    return parse


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
        raise ValueError(f"it holds {labels[0]}, not {label}")
    if "ENCRYPTED PRIVATE KEY" in labels or b"4,ENCRYPTED" in pem:
        raise ValueError("the key has a passphrase, which nobody could type at boot")


def _block(label: bytes, body: bytes) -> bytes:
    """Write one block the same way whatever its line breaks were; a form may turn them into blanks."""
    compact = b"".join(body.split())
    try:
        base64.b64decode(compact, validate=True)
    except binascii.Error:
        raise ValueError(f"what stands after -----BEGIN {label.decode()}----- is not base64") from None
    starts = range(0, len(compact), _PEM_LINE_CHARACTERS)
    lines = b"".join(compact[start : start + _PEM_LINE_CHARACTERS] + b"\n" for start in starts)
    return b"-----BEGIN " + label + b"-----\n" + lines + b"-----END " + label + b"-----\n"


VERSION = TextFormat(
    expected=f"{FLOWER_VERSION}, the version that this release is built for",
    example=FLOWER_VERSION,
    parse=_version,
)
LISTEN_ADDRESS = TextFormat(
    expected="host:port, the port from 1 to 65535, an IPv6 address in brackets",
    example="0.0.0.0:9092",
    parse=_listen_address,
)
CONNECT_ADDRESS = TextFormat(
    expected="host:port of the SuperLink, the port from 1 to 65535, an IPv6 address in brackets",
    example="10.0.0.5:9092",
    parse=_connect_address,
)
ABSOLUTE_PATH = TextFormat(
    expected="an absolute path without ..", example="/app/checkpoints", parse=_absolute_path
)
RELATIVE_PATH = TextFormat(
    expected="a relative path of a file, without ..", example="state/state.db", parse=_relative_path
)
NODE_CONFIG = TextFormat(
    expected="pairs key=value with blanks between them, text values in quotes",
    example='partition-id=0 num-partitions=2 site="north"',
    parse=_node_config,
)
TOKEN = TextFormat(
    expected=f"{SHORTEST_TOKEN} characters or more, without blanks",
    example="$(openssl rand -hex 16)",
    parse=_token,
)
METRIC = TextFormat(
    expected="the name of a metric, with - before it where lower is better",
    example="-eval_loss",
    parse=_metric,
)
REAL_NUMBER = TextFormat(expected="a finite number", example="0.95", parse=_real_number)
CERTIFICATE = TextFormat(
    expected="a PEM certificate, as it is or in base64",
    example="$(base64 -w0 certificate.pem)",
    parse=_pem("CERTIFICATE"),
)
PRIVATE_KEY = TextFormat(
    expected="a PEM private key without passphrase, as it is or in base64",
    example="$(base64 -w0 key.pem)",
    parse=_pem("PRIVATE KEY"),
)
