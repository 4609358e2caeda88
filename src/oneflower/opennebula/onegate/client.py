"""Calls of OneGate's REST interface, tried again through an outage, one at a time for each VM."""

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from oneflower.errors import ClusterError
from oneflower.opennebula.onegate.access import Access, Proof
from oneflower.opennebula.onegate.encoding import body
from oneflower.opennebula.onegate.turn import taking_turns

log = logging.getLogger(__name__)

# OneGate works on a request for up to 30 s whether or not its client still waits, and applies it afterwards.
# A client that waits longer never has an abandoned request of its own in flight.
TIMEOUT = httpx.Timeout(45.0, connect=5.0)
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0

# While oned is away OneGate answers 401 (it cannot check the token) or 404 (it cannot read the VM), and 404
# while OneFlow is away.
PASSING = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
MEANINGS = {
    HTTPStatus.BAD_REQUEST: "this VM does not belong to a OneFlow service",
    HTTPStatus.FORBIDDEN: "OneGate does not let a VM do that (onegate-server.conf)",
    HTTPStatus.NOT_FOUND: "oned or OneFlow does not answer, or the service no longer exists",
}


class OneGateError(ClusterError):
    """OneGate did not answer, or refused.

    Attributes
    ----------
    passing
        Whether the same call may succeed later: an outage of OneGate, oned or OneFlow, not a refusal.
    """

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


def jitter() -> float:
    """Return a factor around 1: VMs that were started together, or failed together, do not call together."""
    return random.uniform(0.75, 1.25)  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How a client waits: ``patience_s`` bounds the time in which one call is tried again."""

    patience_s: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = jitter

    def delay(self, attempt: int) -> float:
        """Return the seconds before the next attempt."""
        return float(min(FIRST_DELAY_S * 2.0**attempt, LONGEST_DELAY_S) * self.jitter())


class OneGate:
    """A connection to OneGate; every failure is a OneGateError without the token in it.

    Parameters
    ----------
    turn
        The file whose lock admits one call at a time from all processes of this VM; None for no lock.
    proof
        Where it is remembered that OneGate has accepted the token; None for this process's memory alone.
    """

    def __init__(
        self,
        access: Access,
        *,
        waiting: Waiting | None = None,
        turn: Path | None = None,
        proof: Path | None = None,
    ) -> None:
        self.access = access
        self._waiting = waiting or Waiting()
        self._turn = turn
        self._proof = Proof(proof, access)
        headers = {"X-ONEGATE-TOKEN": access.token, "X-ONEGATE-VMID": access.vm_id}
        # A proxy of the environment leads away from the front-end's own network.
        self._http = httpx.Client(base_url=access.endpoint, headers=headers, timeout=TIMEOUT, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def publish(self, values: Mapping[str, str], *, patience_s: float | None = None) -> None:
        """Set values in this VM's USER_TEMPLATE; plain words, base64 by `encoding.BASE64_KEYS`."""
        if values:
            self._put("/vm", body(values), patience_s)

    def erase(self, keys: Iterable[str], *, patience_s: float | None = None) -> None:
        """Remove keys from this VM's USER_TEMPLATE.

        Only those that are there: OneGate answers 500 for a key that is not (onegate-server.rb, `update`),
        in every release from 6.8 to 7.4.
        """
        wanted, began, attempt = list(dict.fromkeys(keys)), self._waiting.clock(), 0
        patience_s = self._waiting.patience_s if patience_s is None else patience_s
        while wanted:
            left_s = began + patience_s - self._waiting.clock()
            there = self.template(patience_s=max(left_s, 0.0))
            wanted = [key for key in wanted if key in there]
            delay = self._waiting.delay(attempt)
            try:
                for key in wanted:
                    self._put("/vm?type=2", key, 0.0)
            except OneGateError as error:
                # The key may be gone by now: the next look tells that from an outage.
                if not error.passing or delay > left_s:
                    raise
            else:
                return
            attempt += 1
            self._waiting.sleep(delay)

    def vm(self, *, patience_s: float | None = None) -> dict[str, Any]:
        """Return this VM as OneGate shows it."""
        return self._get("/vm", "VM", patience_s)

    def service(self, *, patience_s: float | None = None) -> dict[str, Any]:
        """Return the service, with the addresses and the USER_TEMPLATE of its VMs."""
        return self._get("/service?extended=true", "SERVICE", patience_s)

    def template(self, *, patience_s: float | None = None) -> dict[str, str]:
        """Return this VM's USER_TEMPLATE."""
        found = self.vm(patience_s=patience_s).get("USER_TEMPLATE")
        return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}

    def _put(self, path: str, content: str, patience_s: float | None) -> None:
        self._call("PUT", path, patience_s, content=content.encode(), headers={"Content-Type": "text/plain"})

    def _get(self, path: str, key: str, patience_s: float | None) -> dict[str, Any]:
        response = self._call("GET", path, patience_s)
        try:
            return dict(response.json()[key])
        except (ValueError, KeyError, TypeError):
            # A proxy before OneGate may answer in its place for a while.
            text = f"OneGate answered GET {path} with something else than a {key}"
            raise OneGateError(text, passing=True) from None

    def _call(self, method: str, path: str, patience_s: float | None, **options: Any) -> httpx.Response:
        """Call until it succeeds, is refused for good, or the patience is used up."""
        waiting = self._waiting
        began = waiting.clock()
        patience_s = waiting.patience_s if patience_s is None else patience_s
        attempt = 0
        while True:
            failure = self._attempt(method, path, options)
            if isinstance(failure, httpx.Response):
                return failure
            delay = waiting.delay(attempt)
            waited_s = waiting.clock() - began
            if not failure.passing or waited_s + delay > patience_s:
                tries = f", {attempt + 1} tries in {waited_s:.0f} s" if attempt else ""
                text = f"OneGate at {self.access.endpoint} did not do {method} {path}{tries}: {failure}"
                raise OneGateError(text, passing=failure.passing)
            if attempt == 0:
                log.warning("onegate call=%s %s tried again reason=%s", method, path, failure)
            attempt += 1
            waiting.sleep(delay)

    def _attempt(self, method: str, path: str, options: Mapping[str, Any]) -> httpx.Response | OneGateError:
        try:
            with taking_turns(self._turn, self._waiting.clock, self._waiting.sleep):
                response = self._http.request(method, path, **options)
        except TimeoutError as error:
            return OneGateError(str(error), passing=True)
        except httpx.RequestError as error:
            return OneGateError(f"no answer ({type(error).__name__})", passing=True)
        if response.is_success:
            self._proof.accepted()
            return response
        status = response.status_code
        passing = status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return OneGateError(self._meaning(status), passing=passing)

    def _meaning(self, status: int) -> str:
        if status == HTTPStatus.UNAUTHORIZED:
            return f"status 401, {self._proof.meaning_of_a_refusal()}"
        text = MEANINGS.get(HTTPStatus(status)) if status in {*HTTPStatus} else None
        return f"status {status}, {text}" if text else f"status {status}"
