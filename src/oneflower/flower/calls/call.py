"""Call a ClientApp for one message: the same way in the warm executor, a cold process and a simulation."""

from collections.abc import Callable
from functools import partial

from oneflower.flower.api import Context, Message
from oneflower.flower.calls.control import Control, take_control
from oneflower.flower.calls.seeds import seeded
from oneflower.flower.client_mark import is_ours, mark_reply, raised_reply
from oneflower.flower.packing import answer
from oneflower.flower.parts import own_part
from oneflower.flower.who import is_question, who_reply

App = Callable[[Message, Context], Message]


def call_client(app: App, message: Message, context: Context) -> Message:
    """Call a ClientApp with its partition and with unpacked arrays; pack and mark its reply.

    What the app raises, `sys.exit` too, becomes an error reply. The question who the node is is answered
    here, and the control record is taken out: the app sees neither.
    """
    if is_question(message):
        return who_reply(message, context)
    ours = is_ours(message)
    try:
        control = take_control(message)
        with own_part(message, context):
            reply = answer(partial(_run, app, control), message, context)
    except (Exception, SystemExit) as error:  # noqa: BLE001 a client's own code may raise anything
        return raised_reply(error, message, context, ours=ours)
    if ours:
        mark_reply(reply, context)
    return reply


def _run(app: App, control: Control | None, message: Message, context: Context) -> Message:
    """Call the app as the control record says; a message without one is left to the app."""
    if control is None:
        return _called(app, message, context)
    kind = message.metadata.message_type
    partition = context.node_config.get("partition-id", 0)
    with seeded(control.seed, control.round, str(partition), kind):
        return _called(app, message, context)


def _called(app: App, message: Message, context: Context) -> Message:
    reply = app(message, context)
    if not isinstance(reply, Message):
        raise TypeError(f"the ClientApp returned {type(reply).__name__}; expected a Message")
    return reply
