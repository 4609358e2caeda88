"""An object that is not there yet is asked for again after 20 ms, not after a hidden second."""

from flwr.common.inflatable_utils import pull_and_inflate_object_from_tree, pull_objects

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Workaround

PATIENCE = {"initial_backoff": 0.02, "backoff_cap": 1.0, "max_tries_per_object": None}
"""Seconds; the pauses double up to the cap. Flower's `max_time` of 7200 s still ends the wait."""


def apply(patch: Patch) -> None:
    """Change the defaults that no caller of Flower's overrides."""
    for function in (pull_objects, pull_and_inflate_object_from_tree):
        patch(function, "__kwdefaults__", {**(function.__kwdefaults__ or {}), **PATIENCE})


WORKAROUND = Workaround(
    name="object-backoff",
    # A message is delivered before its objects are pushed, so a quick SuperNode nearly always meets this.
    defect="pauses of 1 s to 10 s that cannot be set: constant.py:172, inflatable_utils.py:231 and 465",
    programs=frozenset({Program.SUPERNODE, Program.SERVERAPP, Program.CLIENTAPP}),
    sources={
        "flwr.common.inflatable_utils": {
            "pull_objects": "5673b3413241",
            "pull_and_inflate_object_from_tree": "139811483a15",
        },
    },
    apply=apply,
)
