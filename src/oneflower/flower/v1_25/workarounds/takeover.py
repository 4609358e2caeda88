"""A SuperNode that was restarted with its key is taken at once, and a copied key is told apart."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
from flwr.proto.fleet_pb2 import ActivateNodeRequest, RegisterNodeFleetRequest
from flwr.supercore.constant import NodeStatus

from oneflower.flower.join_refusals import of_this_process, two_processes
from oneflower.flower.presence import SILENT_S, Presence
from oneflower.flower.v1_25.node_calls import NodeCall, stand_before
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround
from oneflower.journal.events import JoinRefused

IN_USE = (
    "the key of this SuperNode is in use by a process that is connected and has called within "
    f"{SILENT_S:.0f} s. Stop the other process. If its machine has lost power, wait: the key is free once "
    "it has been silent that long. If there should be no other process, the key was copied: remove the "
    "key file, so that another is made"
)


def take_over(
    patch: Patch, presence: Presence | None = None, refuse: Callable[[JoinRefused], object] | None = None
) -> None:
    """End the activation of a process that is gone when its key activates again."""
    presence = presence or Presence()
    refuse = refuse or of_this_process().refuse

    def answer(call: NodeCall, request: Any, context: Any) -> Any:
        if isinstance(request, RegisterNodeFleetRequest):
            return call.answer(request, context)
        if not isinstance(request, ActivateNodeRequest):
            if presence.heard(call.key, context.peer()):
                refuse(two_processes(call.key))
            return call.answer(request, context)
        _end_old(presence, call, context)
        response = call.answer(request, context)
        presence.took_over(call.key, context.peer())
        return response

    stand_before(patch, answer)


def _end_old(presence: Presence, call: NodeCall, context: Any) -> None:
    """End the old activation of a key; refuse the call if its process is alive."""
    state = call.states.state()
    node_id = state.get_node_id_by_public_key(call.key)
    if node_id is None or not state.get_node_info(node_ids=[node_id], statuses=[NodeStatus.ONLINE]):
        return
    if not presence.may_take_over(call.key, context.peer()):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, IN_USE)
    state.deactivate_node(node_id)


def reporting(*, copies: bool) -> Workaround:
    """Return the workaround; without ``copies`` two processes with one key are no alarm.

    That is so where anybody may make a key: one that is used twice says nothing about a member.
    """
    return WORKAROUND if copies else replace(WORKAROUND, apply=partial(take_over, refuse=_nobody))


def _nobody(_refused: JoinRefused) -> None:
    """Report nothing."""


WORKAROUND = Workaround(
    name="restarted-supernode",
    purpose=Purpose.SAFETY,
    effect="A SuperNode that is killed and restarted with its own key is refused until its lease ends "
    "(about 50 s), and its lost message is reported as late. With it the key is free as soon as the old "
    "process is gone: its connection is closed, or it has been silent for 35 s. A live process keeps its "
    "key, and two that use one key are reported ([who may join](deploy.md#who-may-join)).",
    cause="only a node that is offline is activated: sqlite_linkstate.py:704",
    programs=frozenset({Program.SUPERLINK}),
    sources={
        "flwr.server.superlink.fleet.grpc_rere.fleet_servicer": {
            "FleetServicer.RegisterNode": "2131f00313fc"
        },
        "flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor": {
            "NodeAuthServerInterceptor._wrap_method_handler": "e9f69f62f2b4",
            "NodeAuthServerInterceptor.__init__": "206dcca1afaa",
        },
        "flwr.server.superlink.linkstate.linkstate_factory": {"LinkStateFactory.state": "a685e27c974c"},
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.deactivate_node": "2028d45f8bcd",
            "SqliteLinkState.get_node_id_by_public_key": "05c1833dcb39",
            "SqliteLinkState.get_node_info": "b52766b57a6b",
        },
        "flwr.supercore.constant": {"NodeStatus": "579b918c601f"},
        "flwr.proto.fleet_pb2": {
            "ActivateNodeRequest": "fed818821f32",
            "RegisterNodeFleetRequest": "0c3ee2a09fef",
        },
    },
    apply=take_over,
)
