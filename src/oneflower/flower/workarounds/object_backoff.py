"""An object that is not there yet is asked for again after 20 ms, not after a hidden second."""

from flwr.common.inflatable_utils import pull_and_inflate_object_from_tree, pull_objects

from oneflower.flower.workarounds.registry import Patch, Program, Workaround

INITIAL_BACKOFF_S = 0.02


def apply(patch: Patch) -> None:
    """Change the default of `initial_backoff`, which doubles at each try up to Flower's cap of 10 s."""
    for function in (pull_objects, pull_and_inflate_object_from_tree):
        defaults = {**(function.__kwdefaults__ or {}), "initial_backoff": INITIAL_BACKOFF_S}
        patch(function, "__kwdefaults__", defaults)


WORKAROUND = Workaround(
    name="object-backoff",
    # A message is delivered before its objects are pushed, so a quick SuperNode nearly always meets this.
    defect="PULL_INITIAL_BACKOFF is 1 s and cannot be set: constant.py:172, inflatable_utils.py:245",
    programs=frozenset({Program.SUPERNODE, Program.SERVERAPP, Program.CLIENTAPP}),
    sources={
        "flwr.common.inflatable_utils": {
            "pull_objects": "5673b3413241",
            "pull_and_inflate_object_from_tree": "139811483a15",
        },
    },
    apply=apply,
)
