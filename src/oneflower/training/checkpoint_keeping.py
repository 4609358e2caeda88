"""The checkpoints of a training, as the round loop sees them: where it starts, and what it keeps."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from logging import ERROR, INFO, WARNING
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from oneflower.aggregation import AggregationError
from oneflower.checkpoints import (
    FORM_CHANGED,
    BackgroundWriter,
    Checkpoint,
    CheckpointStore,
    ModelSchema,
    Saved,
    adopt,
    check_storable,
    model_digest,
    retention_of,
)
from oneflower.errors import AppError, CheckpointError, OneflowerError
from oneflower.flower.api import Result, log
from oneflower.flower.records import array_views, to_record
from oneflower.journal import Event, Journal
from oneflower.journal.events import CheckpointFailed, CheckpointSaved, SettingsChanged
from oneflower.settings import TrainingConfig
from oneflower.training import signing
from oneflower.training.driver import Driver
from oneflower.training.fitting import go_to_the_round, require_rounds, require_versions, settings_changed
from oneflower.training.history import metrics_since, restore
from oneflower.training.kept import Kept, prove, tell_saving
from oneflower.training.start import EVALUATED, GONE_BACK, BadModelError, Start

# A restarted SuperLink may submit a training before the killed one has let go of the folder.
_LOCK_WAIT_S = 15.0


class CheckpointKeeper:
    """Keeps a training's checkpoints: restores the newest, writes one when it is due, beside the training.

    With FL_CHECKPOINT_ENABLED=NO it keeps nothing and a training starts at round 1.
    """

    def __init__(  # noqa: PLR0913 - what a manifest says of its training
        self,
        config: TrainingConfig,
        *,
        strategy: str,
        app: str,
        journal: Journal | None,
        versions: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._config = config
        self._app, self._strategy = app, strategy
        self._initial = ModelSchema(arrays={})
        self._journal = journal
        self._versions = {str(name): str(value) for name, value in (versions or {}).items()}
        # Read once: a package's metadata may be out of reach later, and a save must not fail for it.
        self._packages = {package: version(package) for package in ("flwr", "oneflower")}
        self._settings = dict(settings or {})
        self.notes: dict[str, Any] = {}
        self._journal_path = None if journal is None else journal.path
        self._signer = signing.signer_of(self._journal_path) if config.checkpoint_enabled else None
        self._stack = ExitStack()
        self._store: CheckpointStore | None = None
        self._writer: BackgroundWriter | None = None
        self.submitted, self._rejected_before = 0, 0
        self._failures: dict[int, str] = {}

    def __enter__(self) -> Self:
        """Open the folder; StateError or CheckpointError where it cannot be used, before a round is spent."""
        if self._config.checkpoint_enabled:
            store = CheckpointStore(
                Path(self._config.checkpoint_path),
                retention=retention_of(self._config.checkpoint_keep),
                wanted=self._config.quality,
                lock_wait_s=_LOCK_WAIT_S,
                signer=self._signer,
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
        AppError
            The model holds what is no array of numbers.
        CheckpointError
            An array cannot be kept; or the checkpoint is of another model, and the text says how it differs.
        SettingsError
            It is of a later round than FL_NUM_ROUNDS, or of a complete training with other settings.
        """
        try:
            arrays = array_views(result.arrays)
        except AggregationError as error:
            raise AppError(f"the app's initial model: {error}") from error
        check_storable(arrays)
        if self._store is None:
            return Start(round=0)
        self._store.require_space(arrays)
        if self._config.resume == "never":
            self._start_afresh(self._store)
            signing.begin(self._store, self._signer, self._journal_path, None)
            return Start(round=0)
        go_to_the_round(self._store, self._config)
        return self._resume(self._store, result)

    def require_no_way_back(self, server_round: int, reason: str) -> None:
        """Raise BadModelError if a training can go back from the model of a round: once, with checkpoints."""
        if self._store is None or server_round < 1 or self.notes.get(GONE_BACK):
            return
        if len(self._store.rejected()) <= self._rejected_before:
            raise BadModelError(server_round, reason)

    def go_back(self, server_round: int, result: Result) -> Start:
        """Set the checkpoint of a round aside as rejected, and start from the one before as after a crash."""
        if self._store is None or self._writer is None:
            return Start(round=0)
        self._writer.wait()
        self._store.reject(server_round)
        self.submitted, self.notes[GONE_BACK] = 0, server_round
        self._failures.clear()
        return self._resume(self._store, result)

    def _resume(self, store: CheckpointStore, result: Result) -> Start:
        self._initial = ModelSchema.of(array_views(result.arrays))
        newest = store.latest(self._initial)
        signing.begin(store, self._signer, self._journal_path, newest.round if newest else None)
        if newest is None:
            return Start(round=0)
        require_rounds(newest, self._config, store.rounds())
        require_versions(newest, self._versions, self._config.checkpoint_path)
        self._tell_changes(newest)
        taken = adopt(newest, strategy=self._strategy, seed=self._config.seed, app=self._app)
        for warning in taken.warnings:
            log(WARNING, "%s", warning)
        result.arrays = to_record(dict(newest.arrays), tuple(newest.arrays))
        restore(result, newest.metrics)
        self.submitted = newest.round
        self.notes |= newest.notes
        return Start(
            round=newest.round,
            state=taken.checkpoint.state,
            total_rounds=newest.total_rounds,
            notes=newest.notes,
        )

    def keep(self, server_round: int, result: Result, strategy: Driver) -> None:
        """Hand the round's model to the writer where a checkpoint is due; the last round always is.

        So is the round after one that was not saved. Only then is the optimizer's state taken, which
        copies two models for FedAdam.
        """
        last = server_round == self._config.num_rounds
        due = last or server_round % self._config.checkpoint_interval == 0
        if self._writer is None or not (due or self.submitted in self._failures):
            return
        self._writer.wait()  # what the one in flight records need not be handed over again
        self.submitted = server_round
        self.notes.pop(EVALUATED, None)
        try:
            self._writer.submit(self._checkpoint(server_round, result, strategy.state_arrays()))
        except (OSError, RuntimeError, MemoryError) as error:  # no thread, no memory: the next round is due
            self._failed(server_round, error)

    def finish(
        self,
        server_round: int,
        result: Result,
        strategy: Driver,
        back_off: Callable[[int], object],
    ) -> Kept:
        """Return the last round's model once it is committed and read back; save it again where it is not.

        Meanwhile the model stays in memory. `back_off` pauses after a failed try, given its number.

        Raises
        ------
        CheckpointError
            It could not be saved FL_ROUND_RETRIES times more.
        """
        digest = model_digest(array_views(result.arrays))
        if self._store is None or self._writer is None:
            return Kept(round=server_round, path=None, sha256=digest)
        self._writer.wait()
        due = self.submitted == server_round and (server_round > 0 or 0 in self._store.rounds())
        problem = None if due else "it was not due before"
        for attempt in range(self._config.round_retries + 1):
            if problem is not None:
                problem = self._save_here(server_round, result, strategy)
            if problem is None:
                proven = prove(self._store, server_round, digest)
                if isinstance(proven, Kept):
                    self._conclude(self._store, result)
                    return proven
                problem = self._failures.get(server_round, proven)
            if attempt < self._config.round_retries:
                self._record(tell_saving(server_round, attempt + 1, self._config, problem))
                back_off(attempt + 1)
        raise CheckpointError(
            f"the model of round {server_round}, the last one, could not be saved; tries: {attempt + 1}, the "
            f"last reason: {str(problem).rstrip('.')}. Mend that and run the same command again: the "
            "training resumes from the newest checkpoint. Raise FL_ROUND_RETRIES (now "
            f"{self._config.round_retries}) to have it tried for longer"
        )

    def _save_here(self, server_round: int, result: Result, strategy: Driver) -> str | None:
        """Save in this thread, with nothing left to train; return why that failed, or None."""
        if self._store is None:
            return None
        self._failures.pop(server_round, None)
        self.notes[EVALUATED] = server_round
        try:
            saved = self._store.save(self._checkpoint(server_round, result, strategy.state_arrays()))
        except Exception as error:  # noqa: BLE001 - whatever it is, the model is held and saved again
            return str(error)
        self.submitted = server_round
        self._saved(saved)
        return None

    def _conclude(self, store: CheckpointStore, result: Result) -> None:
        """Record what was measured after the newest checkpoint: it can make the last round the best."""
        try:
            store.note(metrics_since(result, store.recorded()))
        except OneflowerError as error:
            log(WARNING, "the last evaluation is not recorded beside the checkpoints reason=%s", error)

    def _checkpoint(self, server_round: int, result: Result, state: Mapping[str, NDArray[Any]]) -> Checkpoint:
        arrays = array_views(result.arrays)
        if ModelSchema.of(arrays) != self._initial:
            self.notes[FORM_CHANGED] = True
        return Checkpoint(
            round=server_round,
            total_rounds=self._config.num_rounds,
            arrays=arrays,
            state=dict(state),
            strategy=self._strategy,
            parameters=self._config.strategy_parameters(),
            app=self._app,
            seed=self._config.seed,
            metrics=metrics_since(result, self._recorded()),
            versions=self._packages | self._versions,
            notes={**self.notes, "settings": self._settings},
        )

    def _recorded(self) -> Mapping[str, int]:
        """Return what need not be handed over again; where the disk does not say, nothing."""
        try:
            return {} if self._store is None else self._store.recorded()
        except OneflowerError:
            return {}

    def _tell_changes(self, checkpoint: Checkpoint) -> None:
        changed = settings_changed(checkpoint, self._config, self._settings)
        if changed:
            log(WARNING, "settings changed since round=%d changes=%s", checkpoint.round, "; ".join(changed))
            self._record(SettingsChanged(round=checkpoint.round, changes=tuple(changed)))

    def _start_afresh(self, store: CheckpointStore) -> None:
        rounds = store.start_afresh()
        self._rejected_before = len(store.rejected())
        if rounds:
            log(WARNING, "FL_RESUME=never: checkpoints set aside rounds=%s", ",".join(map(str, rounds)))

    def _saved(self, saved: Saved) -> None:
        self._failures.clear()
        log(INFO, "checkpoint saved round=%d size_bytes=%d", saved.round, saved.size_bytes)
        self._record(
            CheckpointSaved(
                round=saved.round,
                file=str(saved.path),
                size_bytes=saved.size_bytes,
                seconds=saved.seconds,
                sha256=saved.sha256,
            )
        )

    def _failed(self, server_round: int, error: Exception) -> None:
        self._failures[server_round] = str(error)
        log(ERROR, "checkpoint failed, the training goes on round=%d reason=%s", server_round, error)
        self._record(CheckpointFailed(round=server_round, reason=str(error)))

    def _record(self, event: Event) -> None:
        if self._journal is not None:
            self._journal.append(event)
