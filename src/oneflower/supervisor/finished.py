"""Whether a training is done: told by its journal, and believed once its model has been read back."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from oneflower.checkpoints import CheckpointReader, ForeignError, Signer
from oneflower.errors import CheckpointError, SettingsError, StateError
from oneflower.journal import Entry
from oneflower.journal.events import TrainingFinished
from oneflower.settings import ENDING, RESUME, ROUNDS
from oneflower.supervisor.further import how_to_go_further
from oneflower.supervisor.job import Job, changes
from oneflower.supervisor.memory import Finished, Memory, finish_of

_LOOKED_AT: Final = 100


def finished_already(
    job: Job,
    before: Memory | None,
    entries: Iterable[Entry],
    *,
    say: Callable[[str], object],
    signer: Signer | None = None,
) -> Finished | None:
    """Return the finish of the training, when there is nothing left to do and its model is proven.

    More rounds than it has had are something to do, and so is another rule for its early end. A model that
    is gone or damaged is something to do, too: `say` gets what is wrong, and the training resumes.

    Raises
    ------
    SettingsError
        It has finished, and another one, or one of fewer rounds, is asked for now.
    ForeignError
        With a signer: the model, or the newest one where there is more to do, is not signed as ours.
    StateError
        The checkpoint folder cannot be read now, so that nothing can be claimed.
    """
    found = _finished(job, before, entries, say=say, signer=signer)
    if found is None and signer is not None and job.checkpoints and job.run_config[RESUME] != "never":
        _require_ours(Path(str(job.run_config["checkpoint-path"])), signer)
    return found


def _finished(
    job: Job,
    before: Memory | None,
    entries: Iterable[Entry],
    *,
    say: Callable[[str], object],
    signer: Signer | None,
) -> Finished | None:
    found = finish_of(before, entries)
    if found is None:
        return None
    finish = found.event
    done = _last_round(finish, job, before)
    wanted, changed = job.rounds_wanted(done), changes(before, job.describe())
    if _goes_further(finish, done, wanted, {change.key for change in changed}):
        return None
    newest = _newest_kept(finish, job)
    if newest is not None and newest < done:
        goes_on = f"goes on after round {newest}, the newest one" if newest else "starts with round 1"
        say(f"the training had finished round {done}, which is not kept any more: it {goes_on}")
        return None
    other = [change for change in changed if change.key not in ENDING | {"app-hash"}]
    if other:
        listed = "; ".join(str(change) for change in other)
        if finish is None:
            raise SettingsError(
                f"the app here has finished, with other settings: {listed}. Take the change back, or give a "
                "new training another state folder and another FL_CHECKPOINT_PATH (`oneflower up --fresh` "
                "sets the old ones aside)"
            )
        further = how_to_go_further(finish, done, job.run_config)
        kept = finish.path is not None
        aim = "train this model further" if kept else "train from round 1, because no checkpoint was kept"
        raise SettingsError(
            f"the training here has finished round {done}, with other settings: {listed}. "
            "Give a new training another state folder and another FL_CHECKPOINT_PATH (`oneflower up --fresh` "
            f"sets the old ones aside), or {further} to {aim}"
        )
    if wanted < done:
        raise SettingsError(too_few_rounds(wanted, done, "the training here has finished"))
    return found if finish is None or finish.path is None else _proven(finish, done, job, say, signer)


def _last_round(finish: TrainingFinished | None, job: Job, before: Memory | None) -> int:
    """Return the round that the training ended with; an app that writes no events has done what was asked."""
    if finish is not None:
        return finish.round
    return int(job.run_config[ROUNDS] if before is None else before.training[ROUNDS])


def too_few_rounds(wanted: int, done: int, what: str) -> str:
    """Say why a training that is further than FL_NUM_ROUNDS is not done with it, and what to do."""
    return (
        f"FL_NUM_ROUNDS is {wanted}, and {what} round {done}: the model of one round is never given out as "
        f"another's. Set FL_NUM_ROUNDS to {done} or more; or go back with `oneflower checkpoints rollback "
        f"{wanted}` where round {wanted} is kept (`oneflower checkpoints list`); or start a new training in "
        "another folder"
    )


def _goes_further(finish: TrainingFinished | None, done: int, wanted: int, changed: set[str]) -> bool:
    if finish is None or finish.stopped is None:
        return wanted > done
    return wanted > (finish.rounds or done) or bool(changed & (ENDING - {ROUNDS}))


def _newest_kept(finish: TrainingFinished | None, job: Job) -> int | None:
    """Return the newest round that is kept, 0 without any; None for a training whose model never was.

    `oneflower checkpoints rollback` sets the rounds aside that a finish was told of.
    """
    if finish is None or finish.path is None:
        return None
    return max(max(CheckpointReader(folder).rounds(), default=0) for folder in _folders(finish.path, job))


def _proven(
    finish: TrainingFinished,
    done: int,
    job: Job,
    say: Callable[[str], object],
    signer: Signer | None,
) -> Finished | None:
    """Read the model back; return the finish with what the store has verified, or None where it has not."""
    problems, foreign = [], None
    for folder in _folders(finish.path or "", job):
        try:
            manifest = CheckpointReader(folder, signer=signer).verify(done)
        except ForeignError as error:
            foreign = error
            continue
        except CheckpointError as error:
            problems.append(str(error))
            continue
        if manifest.model.sha256 == finish.sha256:
            if signer is None and manifest.is_signed:
                say(f"the checkpoint of round {done} is signed, which only FL_CHECKPOINT_KEY can check")
            path = str(folder / manifest.model.name)
            return Finished(event=replace(finish, round=manifest.round, path=path))
        problems.append(f"round {done} in {folder} is another model than the one that was finished.")
    if foreign is not None:
        raise foreign
    say(
        f"the training had finished round {done}, but its model is not as it was saved: {problems[0]} "
        "The training resumes from the newest good checkpoint"
    )
    return None


def _require_ours(folder: Path, signer: Signer) -> None:
    """Raise ForeignError, before anything starts, where the newest round that can be read is not ours."""
    reader = CheckpointReader(folder, signer=signer)
    with suppress(StateError, OSError):  # whoever trains says what is wrong with the folder
        for number in reversed(reader.rounds()[-_LOOKED_AT:]):
            try:
                reader.training(number)
            except ForeignError:
                raise
            except CheckpointError:
                continue  # damaged: the one before it is used
            return


def _folders(path: str, job: Job) -> Iterator[Path]:
    """Yield where the model may lie: where it was, and where the settings say that checkpoints are."""
    there = Path(path).parent
    yield there
    now = Path(str(job.run_config["checkpoint-path"]))
    if job.checkpoints and now != there:
        yield now
