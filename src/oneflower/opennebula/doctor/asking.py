"""Send one request to OneGate and return the raw response, which the client would not show."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from oneflower.opennebula.onegate import Access
from oneflower.opennebula.onegate.lock import exclusive_call

CONNECT_S = 5.0
# OneGate works on a request for so long, whether or not the caller still waits.
ANSWER_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """OneGate's response; ``middle`` is the time on this machine's clock to compare ``date`` with."""

    status: int
    text: str
    content: Mapping[str, Any] | None
    date: datetime | None
    middle: datetime
    seconds: float


def ask(access: Access, path: str, lock: Path) -> Answer:
    """Send one GET request, while no other process of this VM does.

    Raises
    ------
    httpx.TransportError, httpx.InvalidURL
        There was no response.
    TimeoutError
        Another process has held the lock for two minutes.
    """
    headers = {"X-ONEGATE-TOKEN": access.token, "X-ONEGATE-VMID": access.vm_id}
    timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
    with (
        httpx.Client(timeout=timeout, trust_env=False) as client,
        exclusive_call(lock, time.monotonic, time.sleep),
    ):
        began, clock = datetime.now(UTC), time.monotonic()
        response = client.get(f"{access.endpoint}{path}", headers=headers)
    return Answer(
        status=response.status_code,
        text=response.text,
        content=_content(response),
        date=_date(response.headers.get("Date", "")),
        middle=began + (datetime.now(UTC) - began) / 2,
        seconds=time.monotonic() - clock,
    )


def _content(response: httpx.Response) -> Mapping[str, Any] | None:
    try:
        found = response.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
