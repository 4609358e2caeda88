"""The SuperLink accepts a reply before it takes its objects, and takes no more than a reply may have."""

from collections.abc import Mapping
from functools import wraps

from oneflower.flower.private import Sources
from oneflower.flower.v1_25 import message_gate, reply_gate, stored_messages
from oneflower.flower.v1_25.fleet_ledger import Ledger
from oneflower.flower.v1_25.fleet_limits import Limits
from oneflower.flower.v1_25.message_gate import MessageGate
from oneflower.flower.v1_25.refusals import Refusals
from oneflower.flower.v1_25.reply_gate import ReplyGate
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround


def _together(*given: Sources) -> Sources:
    """Return the names of several declarations as one."""
    found: dict[str, Mapping[str, str]] = {}
    for sources in given:
        for module, names in sources.items():
            found[module] = {**found.get(module, {}), **names}
    return found


def within(limits: Limits) -> Workaround:
    """Return the workaround with other limits than those from the model."""

    def bound(patch: Patch) -> None:
        ledger, refusals = Ledger(limits), Refusals()
        replies = ReplyGate(ledger, refusals)
        messages = MessageGate(ledger, refusals, replies.drop)
        for owner, name, wrapper in (*messages.wrappers(), *replies.wrappers()):
            original = getattr(owner, name)
            patch(owner, name, wraps(original)(wrapper(original)))

    return Workaround(
        name="reply-limits",
        purpose=Purpose.SAFETY,
        effect="The objects of a refused reply stay in the SuperLink's database, and one SuperNode can fill "
        "its disk and memory: 30,000 object ids in one request block all others for 17 s. A second reply to "
        "one message ends the run. An error reason of 20 MB goes into every log and journal.",
        cause="objects are registered before the reply is compared with its message, and none is counted: "
        "message_handler.py:197, 202, 303",
        programs=frozenset({Program.SUPERLINK}),
        # What is refused costs nothing, and a node that asks for work is heard first.
        after=("held-pulls", "stale-nodes", "lost-messages"),
        sources=_together(message_gate.USE.sources, reply_gate.USE.sources, stored_messages.USE.sources),
        apply=bound,
    )


WORKAROUND = within(Limits())
