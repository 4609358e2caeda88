"""The control record of each message of a training."""

import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol, Self

from oneflower.checkpoints import CheckpointReader
from oneflower.errors import OneflowerError
from oneflower.flower.api import Message, RecordDict
from oneflower.flower.calls.control import AUTO, Control, step_of, with_control
from oneflower.settings import TrainingConfig

TRAINING: Final = "training"
"""The id of the training, in a checkpoint's notes."""


class Keeper(Protocol):
    """What a checkpoint keeper knows: the newest checkpoint's notes, and the round that was handed to it."""

    notes: dict[str, Any]
    submitted: int


@dataclass(slots=True, kw_only=True)
class Controls:
    """Adds the control record to messages; without a keeper, as in a test, to none.

    Parameters
    ----------
    checkpoints : Path, optional
        Where the checkpoints are; None where there are none.
    """

    seed: int = 0
    keeper: Keeper | None = None
    checkpoints: Path | None = None
    proximal_term: str = AUTO
    _session: str = field(default_factory=lambda: secrets.token_hex(8))
    _resumed_from: int = 0
    _saved: tuple[int, ...] = ()

    @classmethod
    def of(cls, config: TrainingConfig, keeper: Keeper) -> Self:
        """Return those of a training."""
        checkpoints = Path(config.checkpoint_path) if config.checkpoint_enabled else None
        return cls(
            seed=config.seed,
            keeper=keeper,
            checkpoints=checkpoints,
            proximal_term=config.proximal_term,
        )

    def begin(self, resumed_from: int) -> None:
        """Say that the training starts from the checkpoint of a round: now, or when it has gone back."""
        self._session, self._resumed_from = secrets.token_hex(8), resumed_from

    def into(
        self, messages: Iterable[Message], server_round: int, members: Sequence[int] = ()
    ) -> list[Message]:
        """Add the record to the messages of one phase; messages that share a content go on sharing it.

        `members` is the table of partitions, where they are assigned.
        """
        listed = list(messages)
        if self.keeper is None:
            return listed
        control = replace(self._control(self.keeper, server_round), members=members)
        made: dict[tuple[int, int], tuple[RecordDict, RecordDict]] = {}
        for message in listed:
            if message.has_content():
                step, content = step_of(message.metadata.message_type), message.content
                if (id(content), step) not in made:
                    made[id(content), step] = content, with_control(content, replace(control, step=step))
                message.content = made[id(content), step][1]
        return listed

    def _control(self, keeper: Keeper, server_round: int) -> Control:
        return Control(
            training=keeper.notes.setdefault(TRAINING, secrets.token_hex(16)),
            session=self._session,
            round=server_round,
            seed=self.seed,
            resumed_from=self._resumed_from,
            kept=self._resumable(keeper),
            proximal_term=self.proximal_term,
        )

    def _resumable(self, keeper: Keeper) -> tuple[int, ...]:
        """Return the rounds from which the training may resume: those saved, and the one being saved."""
        if self.checkpoints is None:
            return ()
        with suppress(
            OneflowerError
        ):  # the disk is away: as before, so that no client deletes what is needed
            self._saved = CheckpointReader(self.checkpoints).rounds()
        return tuple(sorted({*self._saved, self._resumed_from, keeper.submitted}))
