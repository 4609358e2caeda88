"""What both stages of a boot share: the settings, the report of a failure, the values last published."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from oneflower.errors import ClusterError, OneflowerError, SettingsError
from oneflower.files import read_json
from oneflower.gpu import Run, run_program
from oneflower.kinds import may_pass
from oneflower.opennebula.appliance.certificates import given_problems
from oneflower.opennebula.appliance.commands import Commands, SystemCommands
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.systemd import Systemd
from oneflower.opennebula.onegate import OneGate, OneGateError
from oneflower.opennebula.onegate.encoding import MAX_ERROR_CHARACTERS
from oneflower.opennebula.roles import Machine
from oneflower.settings import Resolution, resolve

log = logging.getLogger(__name__)

# How long a failed stage tries to publish the reason.
REPORT_FAILURE_S = 60.0


class UnreportedFailureError(ClusterError):
    """A stage failed for good and OneGate does not know: the stage is repeated until it does."""

    passing = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a machine's boot; ``onegate`` is None on a machine without a token.

    ``programs`` runs what looks at GPUs, which may fail in any way.
    """

    machine: Machine
    environ: Mapping[str, str]
    onegate: OneGate | None
    layout: Layout = field(default_factory=Layout)
    commands: Commands = field(default_factory=SystemCommands)
    programs: Run = run_program
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def systemd(self) -> Systemd:
        """The units of the machine."""
        return Systemd(self.layout, self.commands)

    def settings(self) -> Resolution:
        """Read the context from the environment.

        Raises
        ------
        SettingsError
            With every problem, including those of the operator's certificates.
        """
        certificates = given_problems(self.machine, self.environ, self.now())
        try:
            resolution = resolve(self.environ, role=self.machine.role)
        except SettingsError as error:
            raise SettingsError("\n".join([str(error), *certificates])) from None
        if certificates:
            raise SettingsError("\n".join(["The certificates cannot be used.", *certificates]))
        return resolution

    def publish(self, values: Mapping[str, str], *, patience_s: float = 0.0) -> bool:
        """Publish values through OneGate, if there is one; return whether that worked. Log a failure."""
        if self.onegate is None or not values:
            return False
        try:
            self.onegate.publish(values, patience_s=patience_s)
        except OneGateError as error:
            log.warning("not published keys=%s reason=%s", ",".join(values), error)
            return False
        return True

    @contextmanager
    def reporting_failure(self) -> Iterator[None]:
        """Publish an error before it ends the stage: that is where the operator looks first.

        Raises
        ------
        UnreportedFailureError
            The error is final and could not be published: OneGate may still show READY=YES of the last boot.
        """
        try:
            yield
        except OneflowerError as error:
            is_published = self.publish(failure_values(error), patience_s=REPORT_FAILURE_S)
            if not (is_published or self.onegate is None or may_pass(error)):
                raise UnreportedFailureError(str(error)) from error
            raise
        except Exception as error:
            unexpected = f"unexpected {type(error).__name__}: {error}. Please report it"
            self.publish(failure_values(unexpected), patience_s=REPORT_FAILURE_S)
            raise

    def record_published(self, values: Mapping[str, str]) -> None:
        """Record what the machine has published about itself; the report service keeps it published."""
        self.layout.write(self.layout.published, json.dumps(dict(values)) + "\n")

    def update_published(self, values: Mapping[str, str]) -> None:
        """Change recorded values; do nothing if there is no record."""
        published = self.published()
        if published:
            self.record_published({**published, **values})

    def forget_published(self) -> None:
        """Remove the record: while a stage runs, the report service must not publish."""
        self.layout.published.unlink(missing_ok=True)

    def published(self) -> dict[str, str]:
        """Return the recorded values; none while a stage runs and after a stage that failed."""
        return {key: str(value) for key, value in read_json(self.layout.published).items()}


def failure_values(error: object) -> dict[str, str]:
    """Return the values that a machine publishes after an error."""
    return {
        "FL_STATE": "failed",
        "FL_ERROR": (str(error) or type(error).__name__)[:MAX_ERROR_CHARACTERS],
        "READY": "NO",
    }
