"""The control record: what our server tells the client's process about a message, and the app does not see.

It is the last record of a message's content. The process that calls the ClientApp takes it out; on a
SuperNode without oneflower the app sees one record more.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from oneflower.errors import AppError
from oneflower.flower.api import ConfigRecord, Message, RecordDict
from oneflower.flower.parts import MEMBERS
from oneflower.parts import checked_table

RECORD: Final = "oneflower"
AUTO, APP = "auto", "app"
PROXIMAL_TERMS: Final = (AUTO, APP)
MOST_KEPT: Final = 8
"""For so many checkpoints, the newest, clients keep their state."""
STEPS: Final = {"query": 0, "train": 1, "evaluate": 2}
"""The place of a message within its round, by its type; a message of another type comes last."""
LAST_STEP: Final = 3
_MOST_ROUND: Final = 2**31
_ID: Final = re.compile("[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What the server tells with one message.

    Parameters
    ----------
    training : str
        Hexadecimal; the same in all resumes of one training. It names a folder on the client's disk.
    session : str
        Hexadecimal; another one whenever the training starts from a checkpoint.
    round, step : int
        When the message was sent: messages of one round have different steps. A message that is sent again
        has both again. Own loops may count their exchanges as rounds.
    seed : int
        FL_SEED.
    resumed_from : int
        The round of the checkpoint from which this session started, 0 if from none.
    kept : sequence of int
        Rounds of the checkpoints from which the training may resume, ascending.
    proximal_term : str
        Who adds FedProx's term: "auto" or "app" (FL_PROXIMAL_TERM).
    members : sequence of int
        The members of the table of partitions, see `parts`; empty where no partitions are assigned.
    """

    training: str
    session: str
    round: int
    seed: int
    step: int = STEPS["train"]
    resumed_from: int = 0
    kept: Sequence[int] = ()
    proximal_term: str = AUTO
    members: Sequence[int] = ()

    @property
    def place(self) -> tuple[int, int]:
        """When the message was sent, in the order of the training."""
        return self.round, self.step


def step_of(message_type: str) -> int:
    """Return the place of a message within its round."""
    return STEPS.get(message_type.partition(".")[0], LAST_STEP)


def with_control(content: RecordDict, control: Control) -> RecordDict:
    """Return a content of the same records with the control record at its end."""
    record = ConfigRecord(
        {
            "training": control.training,
            "session": control.session,
            "round": control.round,
            "step": control.step,
            "seed": control.seed,
            "resumed-from": control.resumed_from,
            "kept": list(control.kept)[-MOST_KEPT:],
            "proximal-term": control.proximal_term,
            **({MEMBERS: list(control.members)} if control.members else {}),
        }
    )
    return RecordDict({**{name: each for name, each in content.items() if name != RECORD}, RECORD: record})


def take_control(message: Message) -> Control | None:
    """Remove the control record from a message and return it; None where there is none.

    Raises
    ------
    AppError
        It is malformed.
    """
    if not message.has_content() or RECORD not in message.content:
        return None
    record = message.content[RECORD]
    if not isinstance(record, ConfigRecord) or "training" not in record:
        return None  # the app's own
    del message.content[RECORD]
    try:
        return _checked(record)
    except ValueError as error:
        raise AppError(
            f"the record {RECORD!r} of the message is malformed: {error}. The server sent it; use the same "
            "version of oneflower there"
        ) from None


def _checked(record: Mapping[str, object]) -> Control:
    kept, proximal_term = record.get("kept", []), record.get("proximal-term", AUTO)
    if not isinstance(kept, list) or len(kept) > MOST_KEPT:
        raise ValueError(f"kept is {kept!r}; expected up to {MOST_KEPT} rounds")
    if proximal_term not in PROXIMAL_TERMS:
        raise ValueError(f"proximal-term is {proximal_term!r}; expected {' or '.join(PROXIMAL_TERMS)}")
    return Control(
        training=_id(record, "training"),
        session=_id(record, "session"),
        round=_whole("round", record.get("round")),
        step=_whole("step", record.get("step", LAST_STEP)),
        seed=_whole("seed", record.get("seed"), 2**63),
        resumed_from=_whole("resumed-from", record.get("resumed-from", 0)),
        kept=tuple(sorted(_whole("kept", each) for each in kept)),
        proximal_term=str(proximal_term),
        members=checked_table(record.get(MEMBERS, [])),
    )


def _id(record: Mapping[str, object], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError(f"{key} is {value!r:.80}; expected 8 to 64 hexadecimal digits")
    return value


def _whole(key: str, value: object, most: int = _MOST_ROUND) -> int:
    if type(value) is not int or not 0 <= value < most:
        raise ValueError(f"{key} is {value!r:.80}; expected a whole number from 0 to {most - 1}")
    return value
