"""Events of the training as a whole, and of its checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from oneflower.codes import StopReason
from oneflower.journal.events.base import Event, Scalar, SettingRow
from oneflower.kinds import ErrorKind


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBegun(Event):
    """What `TrainingStarted` and `TrainingResumed` say of the training."""

    round: int = 0
    rounds: int
    strategy: str = ""
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    app: str = ""
    best_metric: str = ""
    replaces: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStarted(TrainingBegun):
    """A training starts from nothing, before its first round; `round` is 0.

    `replaces` is the class of the app's own strategy, where FL_STRATEGY has put `strategy` in its place.
    """

    tag: ClassVar[str] = "training_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResumed(TrainingBegun):
    """A checkpoint was loaded; `round` is the checkpoint's, `replaces` as in `training_started`."""

    tag: ClassVar[str] = "training_resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingWentBack(Event):
    """Most clients could not train from the model of `round`: its checkpoint is set aside as rejected.

    The training continues after round `to`, 0 for the start. This happens once at most.
    """

    round: int
    to: int
    rounds: int = 0
    reason: str
    tag: ClassVar[str] = "training_went_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChanged(Event):
    """Settings that decide the model differ from those with which the checkpoint of `round` was made."""

    round: int
    changes: tuple[str, ...]
    tag: ClassVar[str] = "settings_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcesShort(Event):
    """Before the first round after `round`: the server has less memory or disk than the training needs.

    The numbers come from formulas ([memory and disk](large-models.md)); a free number is null where it is not
    known. The training goes on.
    """

    round: int
    rounds: int = 0
    memory_bytes: int = 0
    memory_free_bytes: int | None = None
    disk_bytes: int = 0
    disk_free_bytes: int | None = None
    reason: str
    tag: ClassVar[str] = "resources_short"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsUsed(Event):
    """`oneflower up` or `oneflower supervise` starts: with these settings and versions of the software."""

    settings: tuple[SettingRow, ...]
    environment: Mapping[str, Scalar] = field(default_factory=dict)
    tag: ClassVar[str] = "settings_used"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSaving(Event):
    """The last round is trained and its checkpoint is not on the disk; saving it is tried again.

    `tries` is how often at most.
    """

    round: int
    rounds: int = 0
    attempt: int
    tries: int
    reason: str
    tag: ClassVar[str] = "training_saving"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFinished(Event):
    """The last round's checkpoint is committed and was read back.

    `sha256` and `path` are what was read; `path` is null without checkpoints. `stopped` is null, or why the
    training ended before round `rounds`; `because` says it in words.
    """

    round: int
    rounds: int = 0
    strategy: str = ""
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    app: str = ""
    best_metric: str = ""
    sha256: str = ""
    path: str | None = None
    stopped: StopReason | None = None
    because: str | None = None
    tag: ClassVar[str] = "training_finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFailed(Event):
    """The training cannot go on.

    `error` is the class of the error, which decides the exit code; `kind` is what is done about it
    ([recovery](recovery.md)). Fields that were not known yet are null.
    """

    error: str = ""
    kind: ErrorKind | None = None
    reason: str
    round: int | None = None
    rounds: int | None = None
    strategy: str | None = None
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    app: str | None = None
    best_metric: str | None = None
    tag: ClassVar[str] = "training_failed"

    @property
    def words(self) -> str:
        """What happened, for people."""
        return self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFailed(Event):
    """The app raised an exception of its own; `where` is the file and line. A supervisor tries once more."""

    app: str = ""
    error: str = ""
    kind: ErrorKind | None = None
    reason: str
    where: str = ""
    tag: ClassVar[str] = "app_failed"

    @property
    def words(self) -> str:
        """What happened, for people."""
        raised = f"the app raised {self.error or 'an exception'}: {self.reason}"
        return f"{raised} ({self.where})" if self.where else raised


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Event):
    """The checkpoint is committed: it survives a crash from here on."""

    round: int
    file: str = ""
    size_bytes: int = field(default=0, metadata={"json": "bytes"})
    seconds: float = 0.0
    sha256: str = ""
    tag: ClassVar[str] = "checkpoint_saved"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFailed(Event):
    """A checkpoint could not be written; the training goes on, earlier checkpoints stay good."""

    round: int
    reason: str
    tag: ClassVar[str] = "checkpoint_failed"
