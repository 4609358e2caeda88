"""Sign manifests with a key (FL_CHECKPOINT_KEY): of a folder that others can write only ours are used.

The HMAC-SHA256 is over the manifest as it is rendered without it. A manifest names the SHA-256 of the model,
of the optimizer's state and of the history's line, so it vouches for all of them. It also names the training,
so that a manifest of another one is not taken for this one's although the key is the same.
"""

import hashlib
import hmac
import secrets
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from oneflower.errors import ForeignError
from oneflower.files import read_json

SIGNED: Final = "signed"
"""The key of a manifest under which training and signature stand."""
MEMORY: Final = "checkpoint-training.json"
"""Beside the journal: the training that was signed last. The checkpoint folder may be another's to write."""
_PURPOSE: Final = b"oneflower checkpoint manifest 1\n"

Render = Callable[[Mapping[str, Any]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs and checks manifests.

    Attributes
    ----------
    training
        The training's identity; empty accepts any, and signs with a new one.
    """

    key: str = field(repr=False)
    training: str = ""

    def of_training(self, training: str = "") -> "Signer":
        """Return the signer of one training; of a new one without its identity."""
        return replace(self, training=training or secrets.token_hex(16))

    def signed(self, content: Mapping[str, Any], render: Render) -> dict[str, Any]:
        """Return a manifest's content with its signature, which replaces an earlier one."""
        named = {**content, SIGNED: {"training": self.training}}
        return {**content, SIGNED: {"training": self.training, "hmac_sha256": self._mac(named, render)}}

    def check(self, content: Mapping[str, Any], render: Render, folder: Path | None = None) -> None:
        """Raise ForeignError unless the content is signed with our key, by our training if that is known.

        `folder` is where it lies, for the text of the error.
        """
        given = content.get(SIGNED)
        where = f" in {folder}" if folder else ""
        what = f"the checkpoint of round {content.get('round')}{where}"
        sign = f"oneflower checkpoints sign {shlex.quote(str(folder or 'PATH'))}"
        if not isinstance(given, dict):
            raise ForeignError(
                f"{what} is not signed, and FL_CHECKPOINT_KEY is set: it may be another's. If you know that "
                f"it is yours, run `{sign}` with the key in the environment. {_OTHERWISE}",
                word="UNSIGNED",
            )
        training, mac = str(given.get("training")), str(given.get("hmac_sha256"))
        expected = self._mac({**content, SIGNED: {"training": training}}, render)
        if not hmac.compare_digest(expected.encode(), mac.encode(errors="replace")):
            raise ForeignError(
                f"{what} is signed, but not with this FL_CHECKPOINT_KEY. Set the key that it was signed "
                "with; or, after a change of the key, where you know that it is yours, run "
                f"`{sign}` with the key in the environment. {_OTHERWISE}",
                word="WRONG KEY",
            )
        if self.training and training != self.training:
            raise ForeignError(
                f"{what} is signed, but by training {training:.40}, and not by "
                f"{self.training}, which was trained here: someone may have put it there. Remove it, or "
                "continue from it on purpose: remove checkpoint-training.json beside the journal.",
                word="OTHER TRAINING",
            )

    def _mac(self, content: Mapping[str, Any], render: Render) -> str:
        return hmac.new(self.key.encode(), _PURPOSE + render(content), hashlib.sha256).hexdigest()


_OTHERWISE: Final = "Otherwise remove it, or restart with FL_RESUME=never."


def remembered_training(folder: Path) -> str:
    """Return the training that the machine of a state folder has signed last; empty if it has none."""
    found = read_json(folder / MEMORY).get("training")
    return found if isinstance(found, str) else ""


def training_of(content: Mapping[str, Any]) -> str:
    """Return the training that signed a manifest; empty without a signature."""
    given = content.get(SIGNED)
    return str(given.get("training", "")) if isinstance(given, dict) else ""
