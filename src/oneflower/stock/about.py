"""For which training a recording holds, and how another one differs from it."""

from collections.abc import Mapping
from typing import Any, Final

from oneflower.settings import differences

_APP: Final = "app"
_SEED: Final = "seed"
_RUN_CONFIG: Final = "run_config"


def about_of(app: str, seed: int, run_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the replies besides the messages, as far as JSON can hold it."""
    kept = {key: value for key, value in run_config.items() if isinstance(value, bool | int | float | str)}
    return {_APP: app, _SEED: seed, _RUN_CONFIG: kept}


def how_it_differs(before: object, now: Mapping[str, Any]) -> str:
    """Return which app or settings are others now, as a clause after "it is"; empty for the same."""
    if before == now:
        return ""
    if not isinstance(before, Mapping) or not isinstance(before.get(_RUN_CONFIG), Mapping):
        return "of another version of oneflower"
    if before.get(_APP) != now.get(_APP):
        return f"of another app: it was {before.get(_APP)}, is {now.get(_APP)}"
    changes = [str(change) for change in differences(before[_RUN_CONFIG], now[_RUN_CONFIG])]
    seeds = before.get(_SEED), now.get(_SEED)
    if seeds[0] != seeds[1] and _SEED not in now[_RUN_CONFIG]:
        changes.append(f"seed was {seeds[0]}, is {seeds[1]}")
    return f"of a training with other settings: {'; '.join(changes)}" if changes else ""
