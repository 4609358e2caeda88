"""A few calls of OneGate's REST interface, each with a timeout and tried again where that may help."""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from oneflower.errors import ClusterError
from oneflower.opennebula.onegate.encoding import body

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
TRIES = 5
FIRST_DELAY_S = 0.5
# Contextualization exports the context to the stages, but writes the token into this file only. Its other
# values are not escaped: it is searched, never sourced.
ENVIRONMENT_FILE = Path("/run/one-context/one_env")
_TOKEN_LINE = re.compile(r"""^(?:export )?TOKENTXT=["']?([A-Za-z0-9+/=_-]+)["']?$""", re.MULTILINE)

MEANINGS = {
    HTTPStatus.UNAUTHORIZED: "the token or the VM id is wrong: CONTEXT needs TOKEN=YES, and a VM that was "
    "recreated needs its new token",
    HTTPStatus.FORBIDDEN: "OneGate does not let a VM do that",
    HTTPStatus.NOT_FOUND: "OneGate does not know it: is this VM part of a OneFlow service?",
}


class OneGateError(ClusterError):
    """OneGate did not answer, or refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where OneGate is, and as which VM to speak to it. The token is never shown."""

    endpoint: str
    vm_id: str
    token: str = field(repr=False)


def access_from(environ: Mapping[str, str]) -> Access | None:
    """Find the access in a VM's context; None where the VM has no token."""
    endpoint, vm_id = environ.get("ONEGATE_ENDPOINT", ""), environ.get("VMID", "")
    token = environ.get("TOKENTXT", "") or _kept_token(environ)
    if not (endpoint and vm_id and token):
        return None
    return Access(endpoint=endpoint.rstrip("/"), vm_id=vm_id, token=token.strip())


class OneGate:
    """A connection to OneGate; every failure is a OneGateError without the token in it."""

    def __init__(
        self, access: Access, *, tries: int = TRIES, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.access = access
        self._tries = tries
        self._sleep = sleep
        headers = {"X-ONEGATE-TOKEN": access.token, "X-ONEGATE-VMID": access.vm_id}
        # A proxy of the environment leads away from the front-end's own network.
        self._http = httpx.Client(
            base_url=access.endpoint, headers=headers, timeout=TIMEOUT_S, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def publish(self, values: Mapping[str, str]) -> None:
        """Set values in this VM's USER_TEMPLATE; plain words, base64 by `encoding.BASE64_KEYS`."""
        self._put("/vm", body(values))

    def erase(self, keys: Iterable[str]) -> None:
        """Remove keys from this VM's USER_TEMPLATE."""
        for key in keys:
            self._put("/vm?type=2", key)

    def vm(self) -> dict[str, Any]:
        """Return this VM as OneGate shows it."""
        return self._get("/vm", "VM")

    def service(self) -> dict[str, Any]:
        """Return the service, with the addresses and the USER_TEMPLATE of its VMs."""
        return self._get("/service?extended=true", "SERVICE")

    def _put(self, path: str, content: str) -> None:
        self._call("PUT", path, content=content.encode(), headers={"Content-Type": "text/plain"})

    def _get(self, path: str, key: str) -> dict[str, Any]:
        response = self._call("GET", path)
        try:
            found = response.json()[key]
        except (ValueError, KeyError, TypeError):
            raise OneGateError(f"OneGate answered GET {path} with something else than a {key}") from None
        return dict(found)

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call once, and again after failures that may pass: no answer, or an error of the server."""
        failure = ""
        for attempt in range(self._tries):
            if attempt:
                self._sleep(FIRST_DELAY_S * 2 ** (attempt - 1))
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                failure = f"no answer ({type(error).__name__})"
                continue
            if response.is_success:
                return response
            failure = _meaning(response.status_code)
            if response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                break
        raise OneGateError(f"OneGate at {self.access.endpoint} did not do {method} {path}: {failure}")


def _meaning(status: int) -> str:
    text = MEANINGS.get(HTTPStatus(status)) if status in {*HTTPStatus} else None
    return f"status {status}, {text}" if text else f"status {status}"


def _kept_token(environ: Mapping[str, str]) -> str:
    """Find the token in the file that ONEGATE_TOKEN names, else where contextualization has left it."""
    try:
        if environ.get("ONEGATE_TOKEN"):
            return Path(environ["ONEGATE_TOKEN"]).read_text(encoding="ascii")
        found = _TOKEN_LINE.search(ENVIRONMENT_FILE.read_text(encoding="utf-8", errors="replace"))
    except (OSError, UnicodeDecodeError):
        return ""
    return found[1] if found else ""
