"""A ClientApp in a process of Flower's own sees its partition and unpacked arrays, and gives its name."""

from functools import partial, wraps

from flwr.clientapp import ClientApp
from flwr.common import Context, Message

from oneflower.flower.calls.call import call_client
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround


def apply(patch: Patch) -> None:
    """Do around each call what the warm executor does."""
    call = ClientApp.__call__

    @wraps(call)
    def call_with_partition(self: ClientApp, message: Message, context: Context) -> Message:
        return call_client(partial(call, self), message, context)

    patch(ClientApp, "__call__", call_with_partition)


WORKAROUND = Workaround(
    name="assigned-partition",
    purpose=Purpose.SAFETY,
    effect="The node configuration is that of the SuperNode's start: after scaling, an app that reads its "
    "`partition-id` there trains on its old [part of the data](opennebula.md#which-part-of-the-data). It "
    "also marks replies of apps that [keep state](rounds.md), and unpacks small arrays that [travel "
    "together](decisions/150-small-arrays-are-packed-into-one.md). The warm executor does all of it itself.",
    cause="a message cannot change a node's partition: start_client_internal.py:371, run_clientapp.py:128",
    programs=frozenset({Program.CLIENTAPP}),
    sources={
        "flwr.clientapp.client_app": {"ClientApp.__call__": "9ac8d938c6ee"},
        "flwr.supernode.runtime.run_clientapp": {"run_clientapp": "2fe22c9861cb"},
    },
    apply=apply,
)
