"""What a SuperLink says about its runs and SuperNodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """The state of a run.

    ``status`` is pending, starting, running or finished; ``outcome`` of a finished run is completed, failed
    or stopped, and empty before. ``details`` is the text of the exception that ended it, ``app`` the id of
    the app (``publisher/name``). ``lost`` says that the ServerApp vanished, where ``failed`` alone may be an
    exception that it raised. ``bundle`` is the SHA-256 of the bundle (FAB) that was submitted, ``override``
    the run-config that was given with it, ``submitted_at`` when, as text that sorts.
    """

    run_id: int
    status: str
    outcome: str = ""
    details: str = ""
    app: str = ""
    lost: bool = False
    bundle: str = ""
    override: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    submitted_at: str = ""

    @property
    def finished(self) -> bool:
        """Whether the SuperLink has closed the run."""
        return self.status == "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """A SuperNode that the SuperLink knows; a killed one stays online until its lease ends (60 s)."""

    node_id: int
    online: bool
