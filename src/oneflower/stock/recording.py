"""The Grid of an app that sends its messages by itself: what came of each is recorded, and given again.

After a crash the app's code runs from its first line. It sends the same messages, and gets the recorded
replies until the point where it died; from there on messages go to the clients.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial

from oneflower.flower import legacy_loop
from oneflower.flower.api import Context, Grid
from oneflower.flower.calls.seeds import seed_everything
from oneflower.flower.grid import RoundGrid
from oneflower.flower.logs import log_through_flower
from oneflower.flower.version import DEPLOYED, supported_version
from oneflower.journal import Journal
from oneflower.settings import ENDING, TrainingConfig, without_operational
from oneflower.stock.about import about_of
from oneflower.stock.effects import check_own_training
from oneflower.stock.recording_grid import RecordingGrid

__all__ = ["RecordingGrid", "recorded"]


@contextmanager
def recorded(grid: Grid, context: Context, config: TrainingConfig, journal: Journal | None) -> Iterator[Grid]:
    """Give the Grid for an app's `main`; at its end, what was sent through it is told as finished.

    A strategy whose rounds are ours takes the grid of Flower out again, with `round_grid`.

    Raises
    ------
    StateError, CheckpointError
        When the app sends its first message: the folder of the recording cannot be used.
    OneflowerError
        Whatever the Grid has raised first, also where the app has caught it.
    """
    if isinstance(grid, RecordingGrid | RoundGrid):
        yield grid
        return
    log_through_flower()
    decides = {k: v for k, v in without_operational(context.run_config).items() if k not in ENDING}
    wrapped = RecordingGrid(
        grid,
        config=config,
        journal=journal,
        about=about_of(str(grid.run.fab_id), config.seed, decides),
    )
    in_order = legacy_loop.in_order(partial(check_own_training, config))
    with _own_generators(), in_order, closing(wrapped):
        seed_everything(config.seed, "server")
        with wrapped.first_error.in_place_of_others():
            yield wrapped
        wrapped.finish()


def _own_generators() -> AbstractContextManager[None]:
    """Let Flower draw from a generator of its own where it talks to a SuperLink."""
    if supported_version() != DEPLOYED:
        return nullcontext()
    from oneflower.flower.door import own_generators  # noqa: PLC0415 - of the deployed version alone

    return own_generators.apart()
