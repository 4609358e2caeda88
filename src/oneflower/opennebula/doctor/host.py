"""The machine that doctor examines, what its checks have found out, and how they read its logs."""

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oneflower.gpu import Run, run_program
from oneflower.opennebula.appliance.commands import Commands
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.doctor.find import Found
from oneflower.opennebula.onegate import OneGate
from oneflower.opennebula.roles import Machine
from oneflower.settings import Resolution

RUN_AGAIN = "then repeat the stages: reboot, or change the context with `onevm updateconf ID FILE --append`"

NOT_CONFIGURED = "configure has not written anything yet"

_ERROR = re.compile(
    r"\b(error|failed|failure|cannot|refused|denied|exception|fatal|critical)\b", re.IGNORECASE
)
_LONGEST_LINE = 300


@dataclass(slots=True)
class Facts:
    """What earlier checks have found out; None if they found a problem or did not run.

    Attributes
    ----------
    clock_lead_s
        How far this machine's clock is ahead of OneGate's.
    """

    resolution: Resolution | None = None
    vm: Mapping[str, Any] | None = None
    service: Mapping[str, Any] | None = None
    clock_lead_s: float | None = None
    docker_answers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine; ``onegate`` is None without a token, ``found`` is its context with its origin."""

    machine: Machine
    found: Found
    onegate: OneGate | None
    layout: Layout
    commands: Commands
    programs: Run = run_program
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    facts: Facts = field(default_factory=Facts)

    @property
    def context(self) -> Mapping[str, str]:
        """The context of the machine."""
        return self.found.context

    @property
    def stage(self) -> Stage:
        """The machine as its stages see it."""
        return Stage(
            machine=self.machine,
            environ=self.context,
            onegate=self.onegate,
            layout=self.layout,
            commands=self.commands,
            programs=self.programs,
            now=self.now,
        )

    @property
    def user_template(self) -> Mapping[str, str]:
        """The values that OneGate shows of this machine; empty if it was not asked."""
        return (self.facts.vm or {}).get("USER_TEMPLATE") or {}

    def path(self, text: str) -> Path:
        """Return a file of the machine."""
        return self.layout.root / text.lstrip("/")

    def is_configured(self) -> bool:
        """Whether ``configure`` has started to write."""
        return self.layout.base.is_dir()

    def tls_is_on(self) -> bool:
        """Whether TLS is enabled; assumed if the settings are not valid."""
        resolution = self.facts.resolution
        return resolution is None or resolution.settings.tls_enabled


def end_of(path: Path, size_bytes: int) -> str:
    """Return the last whole lines of a file; empty if it cannot be read."""
    try:
        # The containers' user may have put a link to a file of root's there, or a pipe without a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            size = file.seek(0, 2)
            file.seek(max(0, size - size_bytes))
            content = file.read(size_bytes)
    except OSError:
        return ""
    if size > size_bytes:
        content = content.partition(b"\n")[2]
    return content.decode("utf-8", errors="replace")


def last_error(log: str) -> str:
    """Return the last line that mentions an error, else the last line, shortened."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.search(line)]
    return (errors or lines or [""])[-1][:_LONGEST_LINE]
