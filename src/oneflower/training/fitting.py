"""Whether a checkpoint fits the training that takes it up: its round, what it was made with, its settings."""

from collections.abc import Iterable, Mapping
from logging import WARNING
from typing import Any

from oneflower.aggregation import Form
from oneflower.checkpoints import Checkpoint, CheckpointStore
from oneflower.errors import CheckpointError, SettingsError
from oneflower.flower.api import log
from oneflower.settings import ENDING, TrainingConfig, differences


def require_rounds(checkpoint: Checkpoint, config: TrainingConfig, kept: Iterable[int]) -> None:
    """Refuse a checkpoint of a later round than the last one: its model is not that round's."""
    wanted, done = config.num_rounds, checkpoint.round
    if done <= wanted:
        return
    raise SettingsError(
        f"FL_NUM_ROUNDS is {wanted}, and the newest checkpoint in {config.checkpoint_path} is of round "
        f"{done}: the model of one round is never given out as another's. Set FL_NUM_ROUNDS to {done} or "
        "more; or go back with `oneflower checkpoints rollback N` to a round N that is kept "
        f"({', '.join(map(str, kept))}); or set FL_RESUME=never, or another FL_CHECKPOINT_PATH, "
        "to start from round 1"
    )


def go_to_the_round(store: CheckpointStore, config: TrainingConfig) -> None:
    """Make the round of FL_RESUME the newest one, as `oneflower checkpoints rollback` does.

    Raises
    ------
    CheckpointError
        Its checkpoint is not kept, or is damaged.
    """
    wanted = config.resume_round
    if wanted is None:
        return
    kept = store.rounds()
    if wanted not in kept:
        listed = ", ".join(map(str, kept)) or "none"
        raise CheckpointError(
            f"FL_RESUME is {wanted}, and {config.checkpoint_path} keeps no checkpoint of that round; kept: "
            f"{listed}. Set FL_RESUME to one of them, or to auto for the newest"
        )
    later = store.rollback(wanted)
    if later:
        listed = ",".join(map(str, later))
        log(WARNING, "FL_RESUME=%d: later checkpoints set aside rounds=%s", wanted, listed)


def require_versions(checkpoint: Checkpoint, versions: Mapping[str, str], path: str) -> None:
    """Refuse a checkpoint that was made on something else, such as another base model."""
    different = [
        f"{name} {checkpoint.versions[name]} there, {here} here"
        for name, here in versions.items()
        if checkpoint.versions.get(name, here) != here
    ]
    if different:
        raise CheckpointError(
            f"the checkpoint of round {checkpoint.round} in {path} was made with something else: "
            f"{'; '.join(different)}. Expected the same. Give it back, name another FL_CHECKPOINT_PATH, or "
            "set FL_RESUME=never to start from round 1"
        )


def settings_changed(
    checkpoint: Checkpoint, config: TrainingConfig, settings: Mapping[str, Any]
) -> list[str]:
    """Return what decides the model and is not what it was, in words.

    Raises
    ------
    SettingsError
        The training is complete: its model was made with the other settings.
    """
    before = checkpoint.notes.get("settings")
    if isinstance(before, Mapping):
        found = differences(before, settings)
    elif checkpoint.strategy == config.strategy:  # an earlier release kept the strategy's parameters alone
        found = differences(checkpoint.parameters, config.strategy_parameters())
    else:
        found = []
    changed = [str(change) for change in found if change.key not in ENDING]
    if changed and checkpoint.round == config.num_rounds:
        raise SettingsError(
            f"the training in {config.checkpoint_path} has finished round {checkpoint.round}, with other "
            f"settings: {'; '.join(changed)}. Give a new training another FL_CHECKPOINT_PATH, set "
            f"FL_RESUME=never, or raise FL_NUM_ROUNDS above {checkpoint.round} to train this model further"
        )
    return changed


def form_difference(found: Form, expected: Form) -> str | None:
    """Return the first array that is missing, unknown or of another form, or None."""
    for name in (*expected, *found):
        if found.get(name) != expected.get(name):
            there, here = (_form_text(name, forms) for forms in (found, expected))
            return f"its array {name!r} is {there}; expected {here}"
    return None


def _form_text(name: str, forms: Form) -> str:
    if name not in forms:
        return "absent"
    shape, dtype = forms[name]
    return f"{dtype} {list(shape)}"
