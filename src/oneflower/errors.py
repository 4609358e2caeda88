"""The exception tree of oneflower, and the exit code of each kind.

::

    OneflowerError            1  anything below that has no code of its own
    +-- SettingsError         2  a variable or a context file is wrong; nothing was started
    +-- CheckpointError       3  a checkpoint is missing, damaged, of another model, or locked
    |   +-- FolderLockedError 3  another run writes the checkpoint folder
    |   +-- ForeignError      3  a checkpoint is not signed with FL_CHECKPOINT_KEY, or is another training's
    +-- ClusterError          4  a Flower process did not start, died, or its port is taken
    |   +-- FlowerVersionError 4  the Flower that is installed is not one that oneflower supports
    +-- AppError              5  the folder is not a Flower app, or its data does not fit the model
    +-- TrainingError         6  the training failed: no quorum, or it gave up after its restarts
    +-- StateError            7  a folder cannot be written, or its disk is full
    +-- MachineError          8  `oneflower appliance doctor` has found a problem on a VM
        +-- GpuError          8  FL_GPU_REQUIRED=YES, and no GPU can be used

Exit code 130 is an interruption by the operator (Ctrl-C), 0 is success.
"""


class OneflowerError(Exception):
    """Base of every error that oneflower raises on purpose.

    Its text says what was given, what was expected, and how to fix it.

    Attributes
    ----------
    passing
        Whether the error is temporary; overrides the table in `kinds`. None uses the table.
    """

    exit_code = 1
    passing: bool | None = None


class SettingsError(OneflowerError):
    """A variable or a context file is wrong."""

    exit_code = 2


class CheckpointError(OneflowerError):
    """A checkpoint is missing, damaged, of another model, or its folder is locked."""

    exit_code = 3


class FolderLockedError(CheckpointError):
    """Another run is writing the checkpoint folder."""


class ForeignError(CheckpointError):
    """A checkpoint is not signed with our key, or by another training; that is not damage.

    Attributes
    ----------
    word
        What is the matter, in a word or two, for a list.
    """

    def __init__(self, text: str, *, word: str = "NOT OURS") -> None:
        super().__init__(text)
        self.word = word


class ClusterError(OneflowerError):
    """A Flower process did not start or died, or a port is taken."""

    exit_code = 4


class FlowerVersionError(ClusterError):
    """The Flower that is installed is not one that oneflower supports."""


class AppError(OneflowerError):
    """A folder is not a Flower app, or its data does not fit the model."""

    exit_code = 5


class TrainingError(OneflowerError):
    """A training cannot continue."""

    exit_code = 6


class StateError(OneflowerError):
    """A folder cannot be written, or its disk is full."""

    exit_code = 7


class MachineError(OneflowerError):
    """A check of a virtual machine found a problem."""

    exit_code = 8


class GpuError(MachineError):
    """No GPU can be used, and FL_GPU_REQUIRED=YES forbids to train without one."""


def named_class(cls: type[OneflowerError]) -> type[OneflowerError]:
    """Return the class of the tree above that an error's class is of: its own may be private to a folder."""
    return next(each for each in cls.__mro__ if each.__module__ == __name__)


def class_named(name: str) -> type[OneflowerError] | None:
    """Return the class of the tree above that a name stands for, also that of a class of a folder."""
    pending: list[type[OneflowerError]] = [OneflowerError]
    while pending:
        cls = pending.pop()
        if cls.__name__ == name:
            return named_class(cls)
        pending += cls.__subclasses__()
    return None
