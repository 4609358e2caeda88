"""The token with which a VM authenticates to OneGate, and whether OneGate has ever accepted it."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from oneflower.files import read_json
from oneflower.tls import write_private

log = logging.getLogger(__name__)

# Contextualization exports the context to the stages, but writes the token only to this file. Its other
# values are not escaped: never source it.
ENVIRONMENT_FILE = Path("/run/one-context/one_env")
_TOKEN_LINE = re.compile(r"""^(?:export )?TOKENTXT=["']?([A-Za-z0-9+/=_-]+)["']?$""", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The address of OneGate, this VM's id, and its token, which is never shown."""

    endpoint: str
    vm_id: str
    token: str = field(repr=False)


def access_from(environ: Mapping[str, str]) -> Access | None:
    """Return the access in a VM's context; None if the VM has no token."""
    endpoint, vm_id = environ.get("ONEGATE_ENDPOINT", ""), environ.get("VMID", "")
    token = environ.get("TOKENTXT", "") or _kept_token(environ)
    if not (endpoint and vm_id and token):
        return None
    return Access(endpoint=endpoint.rstrip("/"), vm_id=vm_id, token=token.strip())


class TokenRecord:
    """The record that OneGate has accepted this VM's token, which distinguishes an outage from a wrong token.

    Parameters
    ----------
    path
        A persistent file with the token's digest and a date.
    """

    def __init__(self, path: Path | None, access: Access) -> None:
        self._path = path
        identity = f"{access.endpoint}/{access.vm_id}/{access.token}"
        self._digest = hashlib.sha256(identity.encode()).hexdigest()
        self._since = self._read()

    def accepted(self) -> None:
        """Record that a call with this token has succeeded."""
        if self._since:
            return
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        if self._path is None:
            return
        try:
            content = json.dumps({"token_sha256": self._digest, "accepted": self._since}) + "\n"
            write_private(self._path, content.encode())
        except OSError as error:
            log.debug("accepted token not recorded reason=%s", error)

    def explain_refusal(self) -> str:
        """Return what a status 401 means for this token."""
        if self._since:
            return (
                f"although this token was accepted at {self._since}: oned does not respond to OneGate, or "
                "this VM was recreated and needs its new token"
            )
        return (
            "and this token was never accepted: the token or the VM id is wrong (CONTEXT needs TOKEN=YES, a "
            "recreated VM needs its new token), or oned does not respond to OneGate"
        )

    def _read(self) -> str:
        kept = read_json(self._path) if self._path else {}
        return str(kept.get("accepted", "")) if kept.get("token_sha256") == self._digest else ""


def _kept_token(environ: Mapping[str, str]) -> str:
    """Return the token in the file that ONEGATE_TOKEN names, else in the file of contextualization."""
    try:
        if environ.get("ONEGATE_TOKEN"):
            return Path(environ["ONEGATE_TOKEN"]).read_text(encoding="ascii")
        found = _TOKEN_LINE.search(ENVIRONMENT_FILE.read_text(encoding="utf-8", errors="replace"))
    except (OSError, UnicodeDecodeError):
        return ""
    return found[1] if found else ""
