"""The noise of differential privacy in an app's own loop: from a key of its recording, not from FL_SEED."""

import hashlib
import threading
from pathlib import Path

from oneflower.flower.api import RecordDict
from oneflower.flower.private_noise import digest_of, key_of_machine, new_key, seed_noise
from oneflower.stock.exchange import Posted


class LoopNoise:
    """Seeds the noise from a key and from every reply that the app has got.

    Other replies give other noise: two models with one noise would tell what the noise hides. The order in
    which the replies were taken does not matter, so a loop that is repeated after a crash draws the same. The
    key is in the folder of the recording, in no message; without a recording it is that of this process.
    """

    def __init__(self) -> None:
        self._key = ""
        self._got = 0
        self._lock = threading.Lock()  # a legacy app asks each client in a thread of its own
        seed_noise(new_key(), "server")

    def begin(self, folder: Path) -> None:
        """Draw from the key that a recording keeps.

        Raises
        ------
        StateError
            The folder cannot be used.
        """
        self._key = key_of_machine(folder)
        seed_noise(self._key, "server", 0)

    def after(self, replies: list[Posted]) -> list[Posted]:
        """Return replies that the app gets now; what it draws from here on follows from them."""
        if self._key and replies:
            numbers = [_number_of(each) for each in replies]
            with self._lock:
                for number in numbers:
                    self._got ^= number
                seed_noise(self._key, "server", self._got)
        return replies


def _number_of(posted: Posted) -> int:
    """Return a number of a reply and its message; errors differ in their texts, and give no model."""
    reply = digest_of(posted.content) if isinstance(posted.content, RecordDict) else ""
    place = f"{posted.node}/{posted.number}/{posted.digest}/{reply}"
    return int.from_bytes(hashlib.sha256(place.encode()).digest(), "big")
