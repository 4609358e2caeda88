"""Whether and how a training sums updates while other clients are still training (FL_STREAMING_MEAN)."""

import tempfile
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import partial
from logging import INFO, WARNING
from pathlib import Path
from typing import Any, Final

import numpy as np

from oneflower.aggregation import (
    Allocate,
    Arrays,
    Combined,
    Folding,
    Kind,
    NDArray,
    Ordered,
    Update,
    folded_bytes,
)
from oneflower.capacity import worth_streaming
from oneflower.flower.api import ArrayRecord, Message, log
from oneflower.flower.grid import RoundGrid
from oneflower.flower.memory import keep_freed_memory, return_freed_memory
from oneflower.flower.records import array_views, bytes_of
from oneflower.flower.spool import Spool, laid_aside
from oneflower.settings import TrainingConfig

NOTE: Final = "streaming_mean"
"""Whether the training streams, in a checkpoint's notes: a resume never changes it."""
MOST_CLIENTS: Final = 16_384
LARGEST_FILE: Final = 8 << 40
"""The file takes no more of the disk than is written, and ext4 has no larger ones than 16 TB."""
SMALL_ARRAY_BYTES: Final = 4096
"""Smaller arrays stay in memory."""


Take = Callable[[Update, Message], Update]
"""Takes an update that has passed its checks, and its message; returns the update to go on with."""


@dataclass(slots=True, kw_only=True)
class Streaming:
    """The sums of the round, and the file that keeps its updates in case that one is bounded at the end.

    Without a `spool` nothing is summed: updates are kept until all have come. `initial` holds the model
    that the app began with. `changes` are the norms of the updates' changes by client, taken as they came.
    """

    spool: Spool | None = None
    initial: Spool | None = None
    changes: Mapping[int, float] | None = None
    _folding: Folding | None = None

    @property
    def mean(self) -> Callable[[Ordered, Allocate], Combined] | None:
        """What returns the mean of the updates that were summed."""
        return None if self._folding is None else self._folding.mean

    @property
    def norm(self) -> Callable[[Update, Kind], float] | None:
        """What returns the norms of an update's change, which were taken when it came."""
        return None if self._folding is None else self._folding.norm

    def begin(self, model: Arrays) -> Take:
        """Start an attempt of a round, with nothing left of an earlier one; return what takes its updates."""
        if self.spool is None:
            return lambda update, _message: update
        self._folding, self.changes = Folding(model), None
        self.spool.begin(min(MOST_CLIENTS * sum(array.nbytes for array in model.values()), LARGEST_FILE))
        return partial(self._take, self._folding, self.spool)

    def end(self) -> None:
        """Give up the sums and the file, once there is a model."""
        if self._folding is not None and self.spool is not None:
            self.changes, self._folding = self._folding.changes, None
            self.spool.close()
        if self.initial is not None:
            self.initial.let_go()

    @staticmethod
    def _take(folding: Folding, spool: Spool, update: Update, message: Message) -> Update:
        """Add an update; return it with its arrays in the file, and empty the reply that it came in."""
        kept = replace(update, arrays={name: _kept(spool, array) for name, array in update.arrays.items()})
        folding.add(kept)
        spool.let_go()
        for name in list(message.content):
            del message.content[name]
        return kept


def _kept(spool: Spool, array: NDArray) -> NDArray:
    if array.nbytes < SMALL_ARRAY_BYTES or isinstance(_memory_of(array), memoryview):
        return array
    data = spool.put([array.reshape(-1).view(np.uint8).data], array.nbytes)
    return np.frombuffer(data, array.dtype).reshape(array.shape)


def _memory_of(array: NDArray) -> object:
    """Return what an array looks into: a memoryview is the file's."""
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner


def decide(setting: str, model: Arrays, notes: MutableMapping[str, Any], *, done: int, clients: int) -> bool:
    """Return whether a training streams, and note it: a resume goes on as the training began.

    `clients` is how many train in a round by the settings, and not how many there happen to be. A checkpoint
    of a release that did not stream has no note, and its training does not.
    """
    if setting != "auto":
        notes[NOTE] = setting == "YES"
    elif NOTE not in notes:
        notes[NOTE] = done == 0 and worth_streaming(folded_bytes(model), clients)
    return bool(notes[NOTE])


def begin_streaming(  # noqa: PLR0913 - the settings, the strategy, the model, and where replies come from
    config: TrainingConfig,
    stream: Callable[[Streaming], str | None],
    initial: ArrayRecord,
    grid: RoundGrid,
    *,
    notes: MutableMapping[str, Any],
    done: int,
) -> bool:
    """Have a strategy stream where the training does, and take memory accordingly; return whether it does.

    `stream` takes the sums up, or returns why it cannot. `initial` is the model that the app began with,
    which it may look at for as long as the training takes. `notes` and `done` are as for `decide`.
    """
    model, model_bytes = array_views(initial), bytes_of(initial)
    if not decide(config.streaming_mean, model, notes, done=done, clients=config.most_updates):
        keep_freed_memory(model_bytes)
        return False
    folder = Path(config.checkpoint_path if config.checkpoint_enabled else tempfile.gettempdir())
    streaming = Streaming(spool=Spool(folder=folder))
    reason = stream(streaming)
    if reason is None and not folded_bytes(model):
        reason = "the model has no array of float32 or float16"
    if reason is not None:
        level = WARNING if config.streaming_mean == "YES" else INFO
        log(level, "updates are kept until all have come, and not summed as they come: %s", reason)
        keep_freed_memory(model_bytes)
        return False
    log(INFO, "updates are summed as they come folder=%s size_mb=%d", folder, folded_bytes(model) >> 20)
    del model
    if streaming.spool is not None and grid.keep_replies_in(streaming.spool):
        return_freed_memory(model_bytes)
        streaming.initial = laid_aside(initial, folder)
    else:
        keep_freed_memory(model_bytes)
    return True
