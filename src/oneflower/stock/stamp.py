"""The control record of a message that an app's own loop sends."""

from typing import Final

from oneflower.flower.api import ConfigRecord, RecordDict
from oneflower.settings import TrainingConfig

RECORD: Final = "oneflower"


def stamped(
    content: RecordDict, *, training: str, session: str, number: int, config: TrainingConfig
) -> RecordDict:
    """Return the content with the control record behind it; a message's number to its node is its round."""
    control = ConfigRecord(
        {
            "training": training,
            "session": session,
            "round": number,
            "seed": config.seed,
            "resumed-from": number - 1,
            "kept": [number - 1],
            "proximal-term": "auto",
        }
    )
    return RecordDict({**{name: each for name, each in content.items() if name != RECORD}, RECORD: control})
