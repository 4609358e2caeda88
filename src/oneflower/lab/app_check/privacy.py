"""Where the noise of differential privacy comes from, if an app adds any."""

from collections.abc import Mapping
from typing import Final

from oneflower.findings import Finding, ok, warning
from oneflower.flower.private_noise import KEY_VARIABLE
from oneflower.lab.app_check.probe import Way
from oneflower.lab.app_check.sources import Sources
from oneflower.settings import APP_STRATEGY

NOISE: Final = "privacy-noise"
_WRAPPER, _MOD, _OPACUS, _OLD = "DifferentialPrivacy", "LocalDpMod", "opacus", "DPFedAvg"
HOW_TO_KEEP_IT: Final = "Leave FL_STRATEGY at app, and start the wrapper with strategy.start in the ServerApp"
HOW_TO_UNSET: Final = f"Unset {KEY_VARIABLE} except to compare two trainings byte by byte"


def check_noise(sources: Sources, way: Way, *, strategy: object, environ: Mapping[str, str]) -> list[Finding]:
    """Say where the noise comes from; nothing where the app imports nothing that adds noise.

    Parameters
    ----------
    strategy
        FL_STRATEGY.
    """
    said: list[str] = []
    fixes: list[str] = []
    wrappers = _named(sources, _WRAPPER)
    old = _named(sources, _OLD)
    if way is Way.LOOP and (wrappers or old):
        both = ", ".join(filter(None, (wrappers, old)))
        said.append(
            f"the server draws the noise of {both} from a random key, which is in the folder of the "
            "recording and in no message"
        )
    elif wrappers and (way is Way.SDK or strategy != APP_STRATEGY):
        by = "oneflower.sdk.train" if way is Way.SDK else f"FL_STRATEGY={strategy}"
        said.append(f"{by} trains with another strategy: {wrappers} adds no noise")
        fixes.append(HOW_TO_KEEP_IT)
    elif wrappers:
        said.append(
            f"the server draws the noise of {wrappers} from a random key, which is in the checkpoints and "
            "in no message"
        )
    on_clients = [name for name in (_MOD, _OPACUS) if name in sources.names | sources.packages]
    if on_clients:
        said.append(
            f"each client draws the noise of {' and '.join(on_clients)} from the file noise-key beside its "
            "kept state, which never leaves its machine"
        )
    if said and environ.get(KEY_VARIABLE):
        said.append(f"{KEY_VARIABLE} is set: whoever knows it can compute the noise")
        fixes.append(HOW_TO_UNSET)
    text = "; ".join(said)
    if fixes:
        return [warning(NOISE, text, ". ".join(dict.fromkeys(fixes)))]
    return [ok(NOISE, text)] if said else []


def _named(sources: Sources, start: str) -> str:
    return ", ".join(sorted(name for name in sources.names if name.startswith(start) and name.isalnum()))
