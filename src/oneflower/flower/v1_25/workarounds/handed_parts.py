"""A ClientApp in a process of Flower's own has its part of the data, and says who it is."""

from functools import partial, wraps

from flwr.clientapp import ClientApp
from flwr.common import Context, Message

from oneflower.flower.client_mark import mark_reply, raised_reply
from oneflower.flower.packing import answer
from oneflower.flower.parts import own_part
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Workaround


def apply(patch: Patch) -> None:
    """Put the part into the node's config for the time of the call, as the warm executor does."""
    call = ClientApp.__call__

    @wraps(call)
    def call_with_part(self: ClientApp, message: Message, context: Context) -> Message:
        try:
            with own_part(message, context):
                reply = answer(partial(call, self), message, context)
        except Exception as error:  # noqa: BLE001 - Flower would make the same reply, without the mark
            return raised_reply(error, message, context)
        mark_reply(reply, message, context)
        return reply

    patch(ClientApp, "__call__", call_with_part)


WORKAROUND = Workaround(
    name="handed-parts",
    # The node config is that of the SuperNode's start; a node that must have another part of the data after
    # the cluster was scaled would have to be restarted in the middle of a training.
    defect="a message cannot change a node's partition: start_client_internal.py:371, run_clientapp.py:128",
    programs=frozenset({Program.CLIENTAPP}),
    sources={
        "flwr.clientapp.client_app": {"ClientApp.__call__": "9ac8d938c6ee"},
        "flwr.supernode.runtime.run_clientapp": {"run_clientapp": "2fe22c9861cb"},
    },
    apply=apply,
)
