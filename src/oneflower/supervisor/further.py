"""How to train a finished model further: by what ended its training."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from oneflower.codes import StopReason
from oneflower.journal.events import TrainingFinished
from oneflower.settings import ROUNDS

_PATIENCE: Final = "early-stop-rounds"
_TARGET: Final = "target-metric-value"


def how_to_go_further(finish: TrainingFinished | None, done: int, run_config: Mapping[str, Any]) -> str:
    """Return which variables to change so that rounds follow, as a clause without its subject.

    `finish` is None for an app that writes no events; `run_config` is what is asked for now. More
    rounds alone do not help where the target is reached: the training would end at once.
    """
    if finish is None or finish.stopped is None:
        return f"raise FL_NUM_ROUNDS above {done}"
    wanted = int(run_config[ROUNDS])
    ways = " or ".join(_ways(finish.stopped, finish.rounds or done, run_config))
    more = f", and set FL_NUM_ROUNDS (now {wanted}) above {done}" if wanted <= done else ""
    return f"{ways}{more}"


def _ways(stopped: StopReason, total: int, run_config: Mapping[str, Any]) -> Iterator[str]:
    patience, target = run_config.get(_PATIENCE), run_config.get(_TARGET)
    if patience and stopped is not StopReason.TARGET_REACHED:
        yield f"raise FL_EARLY_STOP_ROUNDS (now {patience})"
    if target and stopped is not StopReason.NO_IMPROVEMENT:
        yield f"change or remove FL_TARGET_METRIC_VALUE (now {target})"
    if not target or stopped is not StopReason.TARGET_REACHED:
        yield f"raise FL_NUM_ROUNDS above {total}"
