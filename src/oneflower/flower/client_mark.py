"""Mark a client's replies with its name, its partition, and whether it keeps state.

Flower gives a SuperNode a new id at each start, and a ServerApp sees nothing but that id. The process that
runs the ClientApp adds a record to each reply to our own round loop; an error reply has no records, so there
the mark is the last line of the reason. The ServerApp removes either. A name is whatever its client sends: it
labels texts and decides nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from logging import ERROR
from typing import Any, Final

from oneflower.bounded_json import parse_json
from oneflower.flower.api import ConfigRecord, Context, Error, ErrorCode, Message, log
from oneflower.flower.arguments import LONGEST_NAME
from oneflower.flower.calls.control import RECORD
from oneflower.flower.who import checked_identity, own_identity
from oneflower.foreign_text import LONGEST_REASON, cut
from oneflower.gpu.readings import Reading, readings_of, short_name

_RECORD: Final = "oneflower-client"
_LINE: Final = "\noneflower-client "
_ESCAPED_LINE: Final = "\\noneflower-client "
"""The same after the SuperLink has escaped the reason (`foreign_text`)."""
# Only the round loop of an earlier release sends both; a reply to anybody else's stays as the app made it.
_OURS: Final = frozenset({"server-round", "seed"})


MOST_RAISED: Final = 800
"""In characters, of an exception's text: after it was escaped the mark has room in the reason, too."""
LONGEST_TEXT: Final = 400
NOTHING: Final = -1
"""In place of a round: the app got no state of an earlier message."""
MOST_ROUNDS: Final = 2**31
MOST_STATE: Final = 64
"""How many names of records are read of one client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientMark:
    """What a client sends about itself; empty where it sends nothing.

    ``state`` are the names of the records that its app keeps in `context.state`, which no checkpoint holds.
    Where its process `keeps_state` on its disk, `state_of` is the round of the state that the app got, and
    `state_problem` names a state that could not be used. `proximal` says whose FedProx's term was, and
    `left_out` the shapes of what was trained without it. `device` is what its app trains on, as the app says,
    and `gpus` what its GPUs have measured; both are empty where FL_GPU_ENABLED is NO.
    """

    name: str = ""
    partition: int | None = None
    state: tuple[str, ...] = ()
    proximal: str = ""
    left_out: str = ""
    keeps_state: bool = False
    state_of: int = NOTHING
    state_problem: str = ""
    device: str = ""
    gpus: tuple[Reading, ...] = ()


@dataclass(slots=True, kw_only=True)
class Report:
    """What the client's process did around the call of the app, for the mark of the reply."""

    proximal: str = ""
    left_out: str = ""
    keeps_state: bool = False
    state_of: int = NOTHING
    state_problem: str = ""
    device: str = ""
    gpus: str = ""
    failed_gpus: list[dict[str, Any]] = field(default_factory=list)
    """For an error reply, which has little room: the GPUs that have reported errors."""


def mark_reply(reply: Message, context: Context, report: Report) -> None:
    """Mark a reply that has content."""
    if not reply.has_error() and reply.has_content():
        record = ConfigRecord({"state": sorted(map(str, context.state))})
        said = {name: value for name, value in asdict(report).items() if name != "failed_gpus"}
        record.update({name: value for name, value in said.items() if value != ""})
        record.update(own_identity(context.node_config))
        reply.content[_RECORD] = record


def raised_reply(
    error: BaseException, message: Message, context: Context, report: Report, *, ours: bool
) -> Message:
    """Return the reply of Flower's own process to an exception of the app, with the mark in its reason."""
    log(ERROR, "ClientApp raised an exception", exc_info=error)
    reason = cut(f"{type(error)}:<'{error}'>", MOST_RAISED)  # run_clientapp.py:139
    if ours:
        watched = {"device": report.device, "gpus": report.failed_gpus}
        said = {name: value for name, value in watched.items() if value}
        reason += _LINE + json.dumps({**own_identity(context.node_config), **said})
    return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message)


def take_mark(reply: Message) -> ClientMark:
    """Remove the mark from a reply, or from the reason of its error, and return it."""
    if reply.has_error():
        whole = reply.error.reason or ""
        reason, found, line = max(whole.rpartition(_LINE), whole.rpartition(_ESCAPED_LINE), key=_marked)
        if not found:
            return ClientMark()
        reply.error = Error(code=reply.error.code, reason=reason)
        try:
            values = parse_json(line[:LONGEST_REASON])
        except ValueError:
            return ClientMark()
        return _checked(values) if isinstance(values, dict) else ClientMark()
    if not reply.has_content() or _RECORD not in reply.content:
        return ClientMark()
    record = reply.content[_RECORD]
    del reply.content[_RECORD]
    return _checked(record) if isinstance(record, ConfigRecord) else ClientMark()


def _marked(parts: tuple[str, str, str]) -> bool:
    return bool(parts[1])


def is_ours(message: Message) -> bool:
    """Return whether our server has sent a message, which is read before the control record is taken out.

    A server of an earlier release sends no control record.
    """
    records = message.content.config_records if message.has_content() else {}
    return RECORD in records or set(records.get("config", ())) >= _OURS


def _checked(values: Mapping[str, object]) -> ClientMark:
    """Return what is valid: an attacker's client sends what it likes."""
    identity, state = checked_identity(values), values.get("state", [])
    state_of = values.get("state_of")
    return ClientMark(
        name=identity.name,
        partition=identity.partition,
        state=tuple(filter(_is_name, state[:MOST_STATE])) if isinstance(state, list) else (),
        proximal=_short(values.get("proximal")),
        left_out=_short(values.get("left_out")),
        keeps_state=values.get("keeps_state") is True,
        state_of=state_of if type(state_of) is int and NOTHING <= state_of < MOST_ROUNDS else NOTHING,
        state_problem=_short(values.get("state_problem")),
        device=short_name(values.get("device")),
        gpus=readings_of(values.get("gpus", "")),
    )


def _short(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() and len(value) <= LONGEST_TEXT else ""


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= LONGEST_NAME
