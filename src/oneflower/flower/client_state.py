"""Tell whether clients keep state of their own, which no checkpoint holds.

What an app puts into `context.state` lives in its SuperNode, for one run. A resumed training is another run,
so it starts empty there. The executor marks the reply to our own round loop, and the loop says it.
"""

from typing import Final

from flwr.common import ConfigRecord, Context, Message

_RECORD: Final = "oneflower-client-state"
# Only our round loop sends both; a reply to anybody else's stays as the app made it.
_OURS: Final = frozenset({"server-round", "seed"})


def mark_state(reply: Message, message: Message, context: Context) -> None:
    """Mark a reply whose app has left something in `context.state`."""
    if not context.state or reply.has_error() or not reply.has_content():
        return
    asked = message.content.config_records.get("config") if message.has_content() else None
    if asked is not None and set(asked) >= _OURS:
        reply.content[_RECORD] = ConfigRecord({"records": sorted(map(str, context.state))})


def take_mark(reply: Message) -> list[str]:
    """Remove the mark from a reply; return the names of the records that its client keeps."""
    if not reply.has_content() or _RECORD not in reply.content:
        return []
    records = reply.content.config_records[_RECORD].get("records", [])
    del reply.content[_RECORD]
    return [str(name) for name in records] if isinstance(records, list) else []
