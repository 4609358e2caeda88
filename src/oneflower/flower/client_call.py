"""What oneflower does around one call of a ClientApp, in whichever process it runs.

The app sees its own partition and unpacked arrays. The reply of an app that keeps state is marked: what it
puts into `context.state` lives in its SuperNode for one run, and no checkpoint holds it. A resumed training
is another run, so it starts with an empty state. The round loop reads the mark and warns.
"""

from collections.abc import Callable
from typing import Final

from oneflower.flower.api import ConfigRecord, Context, Message
from oneflower.flower.packing import answer
from oneflower.flower.parts import own_part

_RECORD: Final = "oneflower-client-state"
# Only our round loop sends both; a reply to anybody else's stays as the app made it.
_OURS: Final = frozenset({"server-round", "seed"})


def call_client(app: Callable[[Message, Context], Message], message: Message, context: Context) -> Message:
    """Call a ClientApp with its partition and unpacked arrays; pack and mark its reply."""
    with own_part(message, context):
        reply = answer(app, message, context)
    mark_state(reply, message, context)
    return reply


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
