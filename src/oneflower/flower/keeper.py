"""The checkpoints of a training, as the round loop sees them: where it starts, and what it keeps."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from logging import ERROR, INFO, WARNING
from pathlib import Path
from typing import Any, Self

from flwr.common import log
from flwr.serverapp.strategy import Result
from numpy.typing import NDArray

from oneflower.checkpoints import (
    BackgroundWriter,
    Checkpoint,
    CheckpointStore,
    ModelSchema,
    Saved,
    adopt,
    check_storable,
    retention_of,
)
from oneflower.errors import CheckpointError, OneflowerError
from oneflower.flower.history import metrics_since, restore
from oneflower.flower.strategies import OneflowerStrategy, array_views, to_record
from oneflower.journal import Journal
from oneflower.settings import TrainingConfig

# A restarted SuperLink may submit a training before the killed one has let go of the folder.
_LOCK_WAIT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a training starts: after `round` (0: nothing was done yet), with its optimizer's arrays."""

    round: int
    state: Mapping[str, NDArray[Any]]


class Keeper:
    """Keeps a training's checkpoints: restores the newest, writes one when it is due, beside the training.

    With FL_CHECKPOINT_ENABLED=NO it keeps nothing and a training starts at round 1.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        app: str,
        journal: Journal | None,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        self._config = config
        self._app = app
        self._journal = journal
        self._versions = dict(versions or {})
        self._all_versions = {package: version(package) for package in ("flwr", "oneflower")} | self._versions
        self._stack = ExitStack()
        self._store: CheckpointStore | None = None
        self._writer: BackgroundWriter | None = None
        self._newest: Saved | None = None

    def __enter__(self) -> Self:
        """Open the folder; StateError or CheckpointError where it cannot be used, before a round is spent."""
        if self._config.checkpoint_enabled:
            store = CheckpointStore(
                Path(self._config.checkpoint_path),
                retention=retention_of(self._config.checkpoint_keep),
                lock_wait_s=_LOCK_WAIT_S,
            )
            self._store = self._stack.enter_context(store)
            self._writer = self._stack.enter_context(
                BackgroundWriter(store, on_saved=self._saved, on_failed=self._failed)
            )
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for the checkpoint in flight and let the folder go."""
        self._stack.close()

    def restore(self, result: Result) -> Start:
        """Fill `result` from the newest checkpoint, if there is one, and say where to go on.

        Raises
        ------
        CheckpointError
            An array of the model cannot be kept. Or the checkpoint is of another model, or made with
            something else; the text lists the differences.
        """
        check_storable(array_views(result.arrays))
        if self._store is None:
            return Start(round=0, state={})
        self._store.require_space(array_views(result.arrays))
        if self._config.resume == "never":
            self._start_afresh(self._store)
            return Start(round=0, state={})
        newest = self._store.latest(ModelSchema.of(array_views(result.arrays)))
        if newest is None:
            return Start(round=0, state={})
        self._require_versions(newest)
        taken = adopt(newest, strategy=self._config.strategy, seed=self._config.seed, app=self._app)
        for warning in taken.warnings:
            log(WARNING, "%s", warning)
        result.arrays = to_record(dict(newest.arrays), tuple(newest.arrays))
        restore(result, newest.metrics)
        return Start(round=newest.round, state=taken.checkpoint.state)

    def keep(self, server_round: int, result: Result, strategy: OneflowerStrategy) -> None:
        """Hand the round's model to the writer where a checkpoint is due; the last round always is.

        Only then is the optimizer's state taken, which copies two models for FedAdam.
        """
        last = server_round == self._config.num_rounds
        if self._writer is None or not (last or server_round % self._config.checkpoint_interval == 0):
            return
        self._writer.wait()  # what the one in flight records need not be handed over again
        self._writer.submit(self._checkpoint(server_round, result, strategy.state_arrays()))

    def conclude(self, result: Result) -> None:
        """Record what was measured after the newest checkpoint: it can make the last round the best."""
        if self._store is None or self._writer is None:
            return
        self._writer.wait()
        try:
            self._store.note(metrics_since(result, self._store.recorded()))
        except OneflowerError as error:
            log(WARNING, "the last evaluation is not recorded beside the checkpoints reason=%s", error)

    def newest(self) -> Saved | None:
        """Wait for the checkpoint in flight; return the newest that was written in this process."""
        if self._writer is not None:
            self._writer.wait()
        return self._newest

    def _checkpoint(self, server_round: int, result: Result, state: Mapping[str, NDArray[Any]]) -> Checkpoint:
        return Checkpoint(
            round=server_round,
            total_rounds=self._config.num_rounds,
            arrays=array_views(result.arrays),
            state=dict(state),
            strategy=self._config.strategy,
            parameters=self._config.strategy_parameters(),
            app=self._app,
            seed=self._config.seed,
            metrics=metrics_since(result, self._recorded()),
            versions=self._all_versions,
        )

    def _recorded(self) -> Mapping[str, int]:
        """Return what need not be handed over again; where the disk does not say, nothing."""
        try:
            return {} if self._store is None else self._store.recorded()
        except OneflowerError:
            return {}

    def _require_versions(self, checkpoint: Checkpoint) -> None:
        """Refuse a checkpoint that was made on something else, such as another base model."""
        differences = [
            f"{name} {checkpoint.versions[name]} there, {here} here"
            for name, here in self._versions.items()
            if checkpoint.versions.get(name, here) != here
        ]
        if differences:
            raise CheckpointError(
                f"the checkpoint of round {checkpoint.round} in {self._config.checkpoint_path} was made with "
                f"something else: {'; '.join(differences)}. Expected the same. Give it back, name another "
                f"FL_CHECKPOINT_PATH, or set FL_RESUME=never to start anew"
            )

    def _start_afresh(self, store: CheckpointStore) -> None:
        rounds = store.start_afresh()
        if rounds:
            log(WARNING, "FL_RESUME=never: checkpoints set aside rounds=%s", ",".join(map(str, rounds)))

    def _saved(self, saved: Saved) -> None:
        self._newest = saved
        log(INFO, "checkpoint saved round=%d size_bytes=%d", saved.round, saved.size_bytes)
        self._record(
            "checkpoint_saved",
            round=saved.round,
            file=str(saved.path),
            bytes=saved.size_bytes,
            seconds=saved.seconds,
            sha256=saved.sha256,
        )

    def _failed(self, server_round: int, error: Exception) -> None:
        log(ERROR, "checkpoint failed, the training goes on round=%d reason=%s", server_round, error)
        self._record("checkpoint_failed", round=server_round, reason=str(error))

    def _record(self, event: str, **fields: object) -> None:
        if self._journal is not None:
            self._journal.append(event, **fields)
