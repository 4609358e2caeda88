"""One question to OneGate, and its answer as it came: the client turns every failure into one error."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from oneflower.opennebula.onegate import Access
from oneflower.opennebula.onegate.turn import taking_turns

CONNECT_S = 5.0
# OneGate works on a request for so long, whether or not anybody waits for its answer.
ANSWER_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What OneGate said. ``middle`` is the moment, by this machine's clock, for which its ``date`` holds."""

    status: int
    text: str
    content: Mapping[str, Any] | None
    date: datetime | None
    middle: datetime
    seconds: float


def ask(access: Access, path: str, turn: Path) -> Answer:
    """Ask once, while no other process of this VM does.

    Raises
    ------
    httpx.TransportError, httpx.InvalidURL
        There was no answer.
    TimeoutError
        Another process has spoken to OneGate for two minutes.
    """
    headers = {"X-ONEGATE-TOKEN": access.token, "X-ONEGATE-VMID": access.vm_id}
    timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
    with (
        httpx.Client(timeout=timeout, trust_env=False) as client,
        taking_turns(turn, time.monotonic, time.sleep),
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
