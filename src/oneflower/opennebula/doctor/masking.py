"""Mask secrets in texts, in every encoding that a log or a file may contain."""

import base64
import binascii
import html
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from oneflower.findings import Finding
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.services import DASHBOARD_TOKEN
from oneflower.opennebula.doctor.find import Found
from oneflower.settings import TABLE
from oneflower.settings.variable import MASK

# A shorter text occurs in too many places; it is masked only after the name of its variable.
SHORTEST = 4
# Base64 may be wrapped or truncated: so many characters of a secret are masked too.
_PIECE = 16

_SECRET_NAMES = ("TOKENTXT", DASHBOARD_TOKEN, *(v.name for v in TABLE if v.secret))
# A context may contain other secrets: PASSWORD, CRYPTED_PASSWORD_BASE64, an app's own key. Repetitions are
# bounded because a log may be one word of a megabyte.
_NAME = (
    r"[A-Za-z0-9_]{0,40}(?:TOKENTXT|PASSW(?:OR)?D|SECRET|PRIVATE_KEY|KEYFILE|_TOKEN|PSK)[A-Za-z0-9_]{0,40}"
)
_IS_SECRET = re.compile(_NAME, re.IGNORECASE)
# The value of this variable is a path.
_PATHS = ("ONEGATE_TOKEN",)
_ASSIGNED = re.compile(
    rf"""(\b{_NAME}["']?[ \t]*[=:][ \t]*)("(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?|[^\s,;'"]+)""", re.IGNORECASE
)
_HEADER = re.compile(
    r"""((?:proxy-)?authorization|x-onegate-token|x-auth-token|cookie|set-cookie)(["']?\s*[:=]\s*["']?)[^\r\n"']+""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{4,}", re.IGNORECASE)
_PEM = re.compile(
    r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----"
    r"(?:(?:(?!-----BEGIN ).){0,16384}?-----END [A-Z0-9 ]*PRIVATE KEY-----|(?:[A-Za-z0-9+/=\s]|\\[nr])*)",
    re.DOTALL,
)
_RUN = re.compile(rf"[A-Za-z0-9+/_-]{{{_PIECE},}}={{0,2}}")


@dataclass(frozen=True, slots=True)
class Masker:
    """Replaces known secrets, and texts that look like secrets."""

    secrets: frozenset[str] = field(repr=False)

    def __call__(self, text: str) -> str:
        """Return the text without secrets; idempotent."""
        forms = sorted({form for each in self.secrets for form in _forms(each)}, key=len, reverse=True)
        for form in forms:
            text = text.replace(form, MASK)
        text = _RUN.sub(lambda found: MASK if _is_piece(found[0], forms) else found[0], text)
        text = _PEM.sub(MASK, text)
        text = _HEADER.sub(rf"\1\2{MASK}", text)
        text = _BEARER.sub(rf"\1 {MASK}", text)
        return _ASSIGNED.sub(_assigned, text)


def masker_of(found: Found, layout: Layout) -> Masker:
    """Return a masker for the secrets in a machine's context, environment and key files."""
    values = {text for source in found.known for text in _secret_values(source)}
    for path in (layout.certificates.key, layout.authority / "ca.key"):
        try:
            values.add(path.read_text(encoding="ascii", errors="replace"))
        except OSError:
            continue
    return Masker(frozenset(part for value in values for part in _parts(value)))


def mask_finding(finding: Finding, mask: Masker) -> Finding:
    """Return a finding without secrets: it quotes logs and responses, and is pasted into reports."""
    return replace(finding, found=mask(finding.found), fix=mask(finding.fix))


def is_secret(name: str) -> bool:
    """Whether the value of the variable with this name must be masked."""
    bare = name.removeprefix("ONEAPP_")
    return name not in _PATHS and (bare in _SECRET_NAMES or _IS_SECRET.fullmatch(name) is not None)


def _assigned(found: re.Match[str]) -> str:
    """Mask a value but keep its quotes, so that JSON stays valid."""
    quotes = found[2][0] if found[2][0] in "'\"" else ""
    return f"{found[1]}{quotes}{MASK}{quotes}"


def _secret_values(source: Mapping[str, str]) -> Iterator[str]:
    for name, text in source.items():
        if is_secret(name) and text.upper() not in ("YES", "NO", "TRUE", "FALSE"):
            yield text


def _parts(value: str) -> Iterator[str]:
    """Yield a secret, its decoded base64, and the lines of its PEM."""
    yield value
    yield value.strip()
    try:
        content = base64.b64decode("".join(value.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        content = value
    if "-----BEGIN" in content:
        yield content
        body = [line for line in content.splitlines() if line and not line.startswith("-----")]
        yield from body
        yield "".join(body)


def _forms(secret: str) -> set[str]:
    """Return every encoding of a secret."""
    if len(secret) < SHORTEST:
        return set()
    raw = secret.encode("utf-8", errors="surrogateescape")
    forms = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
        quote(secret, safe=""),
        shlex.quote(secret),
        raw.hex(),
        *_base64_forms(raw),
    }
    return {form for form in forms if len(form) >= SHORTEST}


def _base64_forms(raw: bytes) -> Iterator[str]:
    """Yield base64 of a secret, and its part in base64 of a longer text such as `user:secret`."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(raw).decode("ascii")
        yield text
        yield text.rstrip("=")
        for before in (1, 2):
            inner = encode(bytes(before) + raw).decode("ascii").rstrip("=")
            # The first characters contain bits of the text before, the last character of the text after.
            yield inner[before + 1 : -1]
        yield text.rstrip("=")[:-1]


def _is_piece(run: str, forms: Iterable[str]) -> bool:
    """Whether a run of base64 is part of a secret, or the beginning of any private key."""
    bare = run.rstrip("=")
    if any(bare in form for form in forms if len(form) >= _PIECE):
        return True
    if not bare.startswith("LS0tLS1CRUdJTi"):  # -----BEGIN
        return False
    whole = bare[: len(bare) // 4 * 4]
    try:
        return b"PRIVATE KEY" in base64.b64decode(whole[:100], altchars=b"-_" if "_" in whole else None)
    except (binascii.Error, ValueError):
        return False
