"""How a training ended, in words: whatever is told of the final model comes from one event."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

NOT_KEPT: Final = "not kept: FL_CHECKPOINT_ENABLED is NO"


def ending(finish: Mapping[str, Any]) -> str:
    """Return after which round the training ended, and why, where that was not the last one asked for."""
    done = f"round {finish.get('round', '?')} of {finish.get('rounds', '?')}"
    because = finish.get("because")
    return f"{done}, stopped early: {because}" if because else done


def final_rows(finish: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is told of the final model; nothing for an app that tells nothing."""
    if not finish:
        yield "final model", "not told by the app"
        return
    if finish.get("because"):
        yield "stopped early", f"after round {finish.get('round', '?')}: {finish['because']}"
    yield "final model", str(finish.get("path") or NOT_KEPT)
    yield "SHA-256", str(finish.get("sha256") or "not told by the app")
