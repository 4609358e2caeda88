"""Lines of a journal as events; what is no event is left out."""

import json
from collections.abc import Sequence
from typing import Any, Final

Block = list[dict[str, Any]]

_DECODER: Final = json.JSONDecoder()


def events_of(whole: bytes) -> Block:
    """Return the events of whole lines, which are decoded together: a journal may hold a million of them."""
    try:
        rows: Sequence[str | bytes] = whole.decode().split("\n")
    except UnicodeDecodeError:
        rows = whole.split(b"\n")  # only the lines that are no UTF-8 are lost
    records = map(_record, rows)
    return [each for each in records if isinstance(each, dict) and isinstance(each.get("event"), str)]


def _record(line: str | bytes) -> Any:
    """Parse one line; None for one that is no JSON."""
    try:
        if isinstance(line, str) and line.startswith("{"):
            record, end = _DECODER.raw_decode(line)  # half the time of `json.loads`
            if end == len(line):
                return record
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
