"""The formats of text variables: addresses, paths, key=value pairs, metrics."""

import ipaddress
import math
import re
import tomllib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from oneflower.quality import Wanted

FLOWER_VERSION = "1.25.0"
MAX_TEXT_LENGTH = 4096
APPS_FOLDER = "/opt/flower/apps"
"""Where an operator puts apps on a SuperLink, and their wheels on every machine."""
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
# Flower's own pattern (flwr/common/config.py, parse_config_args); it silently drops what does not match.
_PAIR = re.compile(r"(\S+?)=('[^']*'|\"[^\"]*\"|\S+)")
_COMMA = re.compile(r"[+-]?[0-9]{1,20},[0-9]{1,20}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFormat:
    """A format that a text must have.

    Attributes
    ----------
    expected
        The format in words, for errors and documents.
    example
        A value that passes; empty where there is none that everybody may use.
    parse
        Returns the text in its normal form; raises ValueError with the reason.
    command
        Prints a value, where there is no example.
    """

    expected: str
    example: str = ""
    parse: Callable[[str], str]
    command: str = ""


def printable(text: str) -> str:
    """Return `text` if all its characters are printable.

    Raises
    ------
    ValueError
        For control characters, undecodable bytes and more than MAX_TEXT_LENGTH characters.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(f"it has {len(text)} characters; at most {MAX_TEXT_LENGTH} are allowed")
    for character in text:
        if unicodedata.category(character) == "Cs":
            raise ValueError("it contains bytes that are not UTF-8")
        if unicodedata.category(character) in {"Cc", "Zl", "Zp"}:
            raise ValueError(f"it contains the control character {character!r}")
    return text


def _version(text: str) -> str:
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", text):
        raise ValueError("it is not of the form X.Y.Z")
    if text != FLOWER_VERSION:
        raise ValueError("this release contains no other version")
    return text


def split_address(text: str) -> tuple[str, int]:
    """Split ``host:port``, an IPv6 host in brackets, into host (without brackets) and port.

    Raises
    ------
    ValueError
        With the reason why `text` is no such address.
    """
    if "://" in text:
        raise ValueError("it starts with a scheme; expected host:port alone")
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port:
        raise ValueError("the host or the port is missing")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{port[:20]!r} is not a port from 1 to 65535")
    return _host(host), int(port)


def _host(text: str) -> str:
    bracketed = text.startswith("[") and text.endswith("]")
    if not bracketed and ":" in text:
        raise ValueError("an IPv6 address needs brackets, as in [::1]:9092")
    host = text[1:-1] if bracketed else text
    if bracketed or re.fullmatch(r"[0-9.]+", host):
        if "%" in host:
            raise ValueError("an IPv6 address cannot have a zone here")
        try:
            return str(ipaddress.IPv6Address(host) if bracketed else ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(f"{host[:60]!r} is not an IP address") from None
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise ValueError(f"{host[:60]!r} is neither a host name nor an IP address")
    return host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
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


def _absolute_path(text: str) -> str:
    path = PurePosixPath(printable(text))
    if not path.is_absolute() or not path.name:
        raise ValueError("it is not an absolute path below /")
    if ".." in path.parts:
        raise ValueError("it contains the part ..")
    return text


def _relative_path(text: str) -> str:
    path = PurePosixPath(printable(text))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("it leaves the state folder")
    if not path.parts or text.endswith("/"):
        raise ValueError("it does not name a file")
    if any(part.startswith("-") for part in path.parts):
        raise ValueError("a part of it starts with -, which commands read as an option")
    return text


def _app_source(text: str) -> str:
    """Check where an own app is taken from; `split_app_url` takes an address apart."""
    if "://" in printable(text):
        split_app_url(text)
        return text
    path = PurePosixPath(text)
    if path.is_absolute() and not path.is_relative_to(APPS_FOLDER):
        raise ValueError(f"it is not below {APPS_FOLDER}")
    if ".." in path.parts:
        raise ValueError("it contains the part ..")
    if not path.name or path == PurePosixPath(APPS_FOLDER):
        raise ValueError("it names no app in that folder")
    return text


def split_app_url(text: str) -> tuple[str, str]:
    """Split ``https://host/app.fab#sha256=HEX`` into the address and the SHA-256 in lower case.

    Raises
    ------
    ValueError
        With the reason why `text` is no such address.
    """
    address, _, fragment = text.partition("#")
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("it is not an https address")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it contains a user name or a password, which every report would show")
    found = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if found is None:
        raise ValueError("the part #sha256= with 64 hexadecimal digits is missing")
    return address, found[1].lower()


def _node_config(text: str) -> str:
    """Check pairs as flower-supernode reads them, and refuse what it would drop silently."""
    if _PAIR.sub("", printable(text)).strip():
        raise ValueError(f"{_PAIR.sub('', text).strip()[:60]!r} is not of the form key=value")
    lines = "\n".join(f"{key} = {value}" for key, value in _PAIR.findall(text))
    try:
        parsed = tomllib.loads(lines)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML ({error}); quote text values") from None
    for key, value in parsed.items():
        if not isinstance(value, bool | int | float | str):
            raise ValueError(f"the value of {key!r} is neither a boolean, a number nor text")  # noqa: TRY004
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"the value of {key!r} does not fit 64 bits")
    return text


def node_pairs(text: str) -> dict[str, str]:
    """Read a node config as Flower does; a value keeps its quotes."""
    return dict(_PAIR.findall(text))


def _metric(text: str) -> str:
    """Check a metric's name as `oneflower.quality` reads it; a loss needs the minus sign."""
    Wanted.parse(printable(text))
    return text


def finite_number(text: str) -> float:
    """Read a decimal number; ValueError where it is none, or not finite."""
    if _COMMA.fullmatch(text):
        raise ValueError("it is written with a comma, and a decimal point is expected")
    if text.endswith("%") and _DECIMAL.fullmatch(text[:-1].rstrip()):
        raise ValueError("it is a percentage, and a number without % is expected")
    if len(text) > MAX_TEXT_LENGTH or not _DECIMAL.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError("it is not a finite number")
    return float(text)


def _real_number(text: str) -> str:
    finite_number(text)
    return text


def _resume(text: str) -> str:
    """Check what a training resumes from, and write the number of a round without leading zeros."""
    if text in {"auto", "never"}:
        return text
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise ValueError("it is neither auto, never nor a whole number")
    if not 1 <= int(text) < 2**31:
        raise ValueError("it is not the number of a round, which is 1 or more")
    return str(int(text))


VERSION = TextFormat(
    expected=f"{FLOWER_VERSION}, the only version that this release supports",
    example=FLOWER_VERSION,
    parse=_version,
)
LISTEN_ADDRESS = TextFormat(
    expected="host:port, with a port from 1 to 65535 and an IPv6 address in brackets",
    example="0.0.0.0:9092",
    parse=_listen_address,
)
CONNECT_ADDRESS = TextFormat(
    expected="host:port of the SuperLink, with a port from 1 to 65535 and an IPv6 address in brackets",
    example="10.0.0.5:9092",
    parse=_connect_address,
)
ABSOLUTE_PATH = TextFormat(
    expected="an absolute path without ..", example="/app/checkpoints", parse=_absolute_path
)
ABSOLUTE_FILE = TextFormat(
    expected="an absolute path to a file, without ..",
    example="/app/models/weights.npz",
    parse=_absolute_path,
)
RELATIVE_PATH = TextFormat(
    expected="a relative path to a file, without ..", example="state/state.db", parse=_relative_path
)
APP_SOURCE = TextFormat(
    expected=f"a FAB file or an app folder below {APPS_FOLDER}, or https://HOST/NAME.fab#sha256=HEX",
    example=f"{APPS_FOLDER}/my-app",
    parse=_app_source,
)
NODE_CONFIG = TextFormat(
    expected="pairs key=value separated by blanks, with text values in quotes",
    example='partition-id=0 num-partitions=2 site="north"',
    parse=_node_config,
)
METRIC = TextFormat(
    expected="the name of a metric, preceded by - where lower is better",
    example="-eval_loss",
    parse=_metric,
)
RESUME = TextFormat(expected="auto, never, or the number of a round", example="auto", parse=_resume)
REAL_NUMBER = TextFormat(expected="a finite number", example="0.95", parse=_real_number)
