"""Client of OneGate's REST API: calls are repeated during an outage, and made one at a time per VM."""

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from oneflower.bounded_json import Bounds, parse_json
from oneflower.errors import ClusterError
from oneflower.opennebula.onegate.access import Access, TokenRecord
from oneflower.opennebula.onegate.encoding import body
from oneflower.opennebula.onegate.lock import exclusive_call

log = logging.getLogger(__name__)

# OneGate works on a request for up to 30 s and then applies it, whether or not its client still waits. A
# client that waits longer has no abandoned request in flight.
TIMEOUT = httpx.Timeout(45.0, connect=5.0)
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0

# While oned does not respond, OneGate returns 401 (it cannot check the token) or 404 (it cannot read the VM).
# While OneFlow does not respond, it returns 404.
PASSING = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
LARGEST_ANSWER: Final = Bounds(most_bytes=64 << 20, most_values=1_000_000)
"""A service lists its VMs with their templates, which the VMs write themselves."""
MEANINGS = {
    HTTPStatus.BAD_REQUEST: "this VM does not belong to a OneFlow service",
    HTTPStatus.FORBIDDEN: "OneGate does not allow VMs this operation (onegate-server.conf)",
    HTTPStatus.NOT_FOUND: "oned or OneFlow does not respond, or the service no longer exists",
}


class OneGateError(ClusterError):
    """OneGate did not respond, or refused the call.

    Attributes
    ----------
    passing
        Whether the call may succeed later: after an outage of OneGate, oned or OneFlow, not after a refusal.
    """

    passing: bool

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


def jitter() -> float:
    """Return a factor around 1, so that VMs that started or failed together do not call together."""
    return random.uniform(0.75, 1.25)  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How failed calls are repeated: for up to ``patience_s``, with growing delays."""

    patience_s: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = jitter

    def delay(self, attempt: int) -> float:
        """Return the seconds before the next attempt."""
        return float(min(FIRST_DELAY_S * 2.0**attempt, LONGEST_DELAY_S) * self.jitter())


class OneGate:
    """A connection to OneGate; every failure is a OneGateError, whose text does not contain the token.

    Parameters
    ----------
    lock
        The file whose lock allows one call at a time from the processes of this VM; None for no lock.
    token_record
        The file that records that OneGate has accepted the token; None to keep this in memory only.
    """

    def __init__(
        self,
        access: Access,
        *,
        retries: RetryPolicy | None = None,
        lock: Path | None = None,
        token_record: Path | None = None,
    ) -> None:
        self.access = access
        self._retries = retries or RetryPolicy()
        self._lock = lock
        self._record = TokenRecord(token_record, access)
        headers = {"X-ONEGATE-TOKEN": access.token, "X-ONEGATE-VMID": access.vm_id}
        # A proxy from the environment may not reach the front-end's network.
        self._http = httpx.Client(base_url=access.endpoint, headers=headers, timeout=TIMEOUT, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def publish(self, values: Mapping[str, str], *, patience_s: float | None = None) -> None:
        """Set values in this VM's USER_TEMPLATE, encoded by `encoding.encode`."""
        if values:
            self._put("/vm", body(values), patience_s)

    def erase(self, keys: Iterable[str], *, patience_s: float | None = None) -> None:
        """Remove keys from this VM's USER_TEMPLATE.

        Keys that do not exist are left out: OneGate responds 500 for them (onegate-server.rb, `update`) in
        every release from 6.8 to 7.4.
        """
        wanted, began, attempt = list(dict.fromkeys(keys)), self._retries.clock(), 0
        patience_s = self._retries.patience_s if patience_s is None else patience_s
        while wanted:
            left_s = began + patience_s - self._retries.clock()
            there = self.template(patience_s=max(left_s, 0.0))
            wanted = [key for key in wanted if key in there]
            delay = self._retries.delay(attempt)
            try:
                for key in wanted:
                    self._put("/vm?type=2", key, 0.0)
            except OneGateError as error:
                # The key may have been erased all the same: reading the template shows it.
                if not error.passing or delay > left_s:
                    raise
            else:
                return
            attempt += 1
            self._retries.sleep(delay)

    def vm(self, *, patience_s: float | None = None) -> dict[str, Any]:
        """Return this VM as OneGate shows it."""
        return self._get("/vm", "VM", patience_s)

    def service(self, *, patience_s: float | None = None) -> dict[str, Any]:
        """Return the service with the addresses and the USER_TEMPLATE of its VMs."""
        return self._get("/service?extended=true", "SERVICE", patience_s)

    def template(self, *, patience_s: float | None = None) -> dict[str, str]:
        """Return this VM's USER_TEMPLATE."""
        found = self.vm(patience_s=patience_s).get("USER_TEMPLATE")
        return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}

    def _put(self, path: str, content: str, patience_s: float | None) -> None:
        self._call("PUT", path, patience_s, content=content.encode(), headers={"Content-Type": "text/plain"})

    def _get(self, path: str, key: str, patience_s: float | None) -> dict[str, Any]:
        content = self._call("GET", path, patience_s)
        try:
            return dict(parse_json(content, LARGEST_ANSWER)[key])
        except (ValueError, KeyError, TypeError):
            # A proxy in front of OneGate may respond in its place for a while.
            text = f"OneGate's response to GET {path} contains no {key}"
            raise OneGateError(text, passing=True) from None

    def _call(self, method: str, path: str, patience_s: float | None, **options: Any) -> bytes:
        """Return what is answered; repeat a call until it succeeds, is refused, or its time is used up."""
        retries = self._retries
        began = retries.clock()
        patience_s = retries.patience_s if patience_s is None else patience_s
        attempt = 0
        while True:
            failure = self._attempt(method, path, options)
            if isinstance(failure, bytes):
                return failure
            delay = retries.delay(attempt)
            waited_s = retries.clock() - began
            if not failure.passing or waited_s + delay > patience_s:
                attempts = f" after {attempt + 1} attempts in {waited_s:.0f} s" if attempt else ""
                text = f"{method} {path} of OneGate at {self.access.endpoint} failed{attempts}: {failure}"
                raise OneGateError(text, passing=failure.passing)
            if attempt == 0:
                log.warning("onegate call will be repeated call=%s %s reason=%s", method, path, failure)
            attempt += 1
            retries.sleep(delay)

    def _attempt(self, method: str, path: str, options: Mapping[str, Any]) -> bytes | OneGateError:
        try:
            with (
                exclusive_call(self._lock, self._retries.clock, self._retries.sleep),
                self._http.stream(method, path, **options) as response,
            ):
                content = _content(response)
        except TimeoutError as error:
            return OneGateError(str(error), passing=True)
        except httpx.RequestError as error:
            return OneGateError(f"no response ({type(error).__name__})", passing=True)
        if response.is_success:
            self._record.accepted()
            return content
        status = response.status_code
        passing = status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return OneGateError(self._meaning(status), passing=passing)

    def _meaning(self, status: int) -> str:
        if status == HTTPStatus.UNAUTHORIZED:
            return f"status 401, {self._record.explain_refusal()}"
        text = MEANINGS.get(HTTPStatus(status)) if status in {*HTTPStatus} else None
        return f"status {status}, {text}" if text else f"status {status}"


def _content(response: httpx.Response) -> bytes:
    """Read an answer, no further than one of OneGate's goes."""
    content = bytearray()
    for piece in response.iter_bytes():
        content += piece
        if len(content) > LARGEST_ANSWER.most_bytes:
            break
    return bytes(content)
