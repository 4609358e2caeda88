"""Call a ClientApp for one message: the same way in the warm executor, a cold process and a simulation."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from oneflower.flower.api import Context, Message
from oneflower.flower.calls.arrays import name_arrays
from oneflower.flower.calls.client_state import kept_state, state_folder
from oneflower.flower.calls.control import AUTO, Control, take_control
from oneflower.flower.calls.current_client import current_client
from oneflower.flower.calls.gpu_watch import watched_gpus
from oneflower.flower.calls.proximal import proximal_term
from oneflower.flower.calls.seeds import seeded
from oneflower.flower.client_mark import LONGEST_TEXT, NOTHING, Report, is_ours, mark_reply, raised_reply
from oneflower.flower.packing import answer
from oneflower.flower.parts import own_part
from oneflower.flower.private_noise import digest_of, draws_noise, key_of_machine, key_of_training, seed_noise
from oneflower.flower.who import is_question, who_reply
from oneflower.foreign_text import cut

App = Callable[[Message, Context], Message]


def call_client(app: App, message: Message, context: Context) -> Message:
    """Call a ClientApp with its partition and with unpacked arrays; pack and mark its reply.

    What the app raises, `sys.exit` too, becomes an error reply. The question who the node is is answered
    here, and the control record is taken out: the app sees neither.
    """
    if is_question(message):
        return who_reply(message, context)
    name_arrays()
    ours, report = is_ours(message), Report()
    try:
        control = take_control(message)
        parts = control.members if control else ()
        with own_part(message, context, parts), current_client(context), watched_gpus(report):
            reply = answer(partial(_run, app, control, report), message, context)
    except (Exception, SystemExit) as error:  # noqa: BLE001 a client's own code may raise anything
        return raised_reply(error, message, context, report, ours=ours)
    if ours:
        mark_reply(reply, context, report)
    return reply


def _run(app: App, control: Control | None, report: Report, message: Message, context: Context) -> Message:
    """Call the app as the control record says; a message without one is left to the app."""
    if control is None:
        return _called(app, message, context)
    kind = message.metadata.message_type
    partition = str(context.node_config.get("partition-id", "none"))
    place = (control.round, partition, kind)
    key = key_of_training(key_of_machine(state_folder()), control.training)
    if draws_noise():
        seed_noise(key, *place, digest_of(message.content))
    # Opacus draws the noise from PyTorch's global generator.
    private = (key, digest_of(message.content)) if "opacus" in sys.modules else ()
    with (
        _state(control, partition, context, report),
        seeded(control.seed, *place, *private),
        proximal_term(message, wanted=control.proximal_term == AUTO) as term,
    ):
        reply = _called(app, message, context)
        if term is not None:
            report.proximal = term.outcome()
            report.left_out = term.left_out_text()
    return reply


@contextmanager
def _state(control: Control, partition: str, context: Context, report: Report) -> Iterator[None]:
    folder = state_folder()
    if folder is None:
        yield
        return
    with kept_state(folder, control, partition, context) as kept:
        report.keeps_state = True
        report.state_of = NOTHING if kept.given is None else kept.given
        report.state_problem = cut(kept.problem, LONGEST_TEXT)
        yield


def _called(app: App, message: Message, context: Context) -> Message:
    reply = app(message, context)
    if not isinstance(reply, Message):
        raise TypeError(f"the ClientApp returned {type(reply).__name__}; expected a Message")
    return reply
