"""The state of an app's strategy in the checkpoints of a training, and what the log says of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from logging import WARNING

from oneflower.aggregation import NDArray
from oneflower.flower.api import log
from oneflower.stock.kept_state import KeptState


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """What an app's strategy keeps from round to round, whether it combines the updates or not."""

    kept: KeptState
    _told: set[str] = field(default_factory=set)

    def arrays(self) -> dict[str, NDArray]:
        """Return what the strategy has changed of itself; what cannot be kept is named once."""
        arrays, lost = self.kept.save()
        new = {name: kind for name, kind in lost.items() if name not in self._told}
        if new:
            self._told.update(new)
            log(
                WARNING,
                "state of the app's strategy is not in the checkpoints, a resumed training starts it as the "
                "app makes it: %s. Numbers, text, NumPy arrays, Flower's records and containers of them are "
                "kept",
                ", ".join(f"{name} ({kind})" for name, kind in new.items()),
            )
        return arrays

    def load(self, state: Mapping[str, NDArray]) -> None:
        """Take up the state of a checkpoint; what the app's code of today refuses is named."""
        refused = self.kept.load(state)
        if refused:
            log(
                WARNING,
                "state of the app's strategy in the checkpoint cannot be set, the training goes on without "
                "it: %s. Was the app changed since? Give it back as it was to resume with all of its state",
                ", ".join(f"{name} ({reason})" for name, reason in refused.items()),
            )

    def snapshot(self) -> Callable[[], None]:
        """Return what puts all of it back as it is now."""
        return self.kept.snapshot()
