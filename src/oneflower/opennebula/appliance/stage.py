"""What both stages of a boot begin with, and how a failure of either is told."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from oneflower.errors import AppError, ClusterError, OneflowerError, SettingsError
from oneflower.files import read_json
from oneflower.opennebula.appliance.certificates import given_problems
from oneflower.opennebula.appliance.commands import Commands, SystemCommands
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.systemd import Systemd, UnitEndedError
from oneflower.opennebula.onegate import OneGate, OneGateError
from oneflower.opennebula.onegate.encoding import MAX_ERROR_CHARACTERS
from oneflower.opennebula.roles import Machine
from oneflower.settings import Resolution, resolve

log = logging.getLogger(__name__)

# How long a failed stage tries to tell OneGate why.
TELL_FAILURE_S = 60.0


class UntoldError(ClusterError):
    """A stage has failed for good, and OneGate could not be told: it is run again until it could."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a machine's boot. ``onegate`` is None on a machine without a token."""

    machine: Machine
    environ: Mapping[str, str]
    onegate: OneGate | None
    layout: Layout = field(default_factory=Layout)
    commands: Commands = field(default_factory=SystemCommands)
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
            Holding every problem, those of the operator's certificates too.
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
        """Tell OneGate, where there is one; return whether it was told. A failure is logged alone."""
        if self.onegate is None:
            return False
        try:
            self.onegate.publish(values, patience_s=patience_s)
        except OneGateError as error:
            log.warning("not published keys=%s reason=%s", ",".join(values), error)
            return False
        return True

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Publish an error before it ends the stage: the operator looks there first.

        Raises
        ------
        UntoldError
            The error is final and OneGate could not be told: it may still show READY=YES of the boot before.
        """
        try:
            yield
        except OneflowerError as error:
            told = self.publish(failure(error), patience_s=TELL_FAILURE_S)
            if not (told or self.onegate is None or may_pass(error)):
                raise UntoldError(str(error)) from error
            raise
        except Exception as error:
            unexpected = f"unexpected {type(error).__name__}: {error}. Please report it"
            self.publish(failure(unexpected), patience_s=TELL_FAILURE_S)
            raise

    def stand_by(self, values: Mapping[str, str]) -> None:
        """Keep what the machine has published of itself, which the report goes on to hold up."""
        self.layout.write(self.layout.standing, json.dumps(dict(values)) + "\n")

    def stand_by_also(self, values: Mapping[str, str]) -> None:
        """Change what the machine stands by; nothing where it stands by nothing."""
        standing = self.standing()
        if standing:
            self.stand_by({**standing, **values})

    def stand_down(self) -> None:
        """Take that back: a stage runs, and the report must not speak for the machine meanwhile."""
        self.layout.standing.unlink(missing_ok=True)

    def standing(self) -> dict[str, str]:
        """Return what the machine stands by; empty while a stage runs, and after one that failed."""
        return {key: str(value) for key, value in read_json(self.layout.standing).items()}


def may_pass(error: OneflowerError) -> bool:
    """Whether the same stage may succeed later without anybody changing the settings or the app."""
    if isinstance(error, OneGateError):
        return error.passing
    return not isinstance(error, SettingsError | AppError | UnitEndedError)


def failure(error: object) -> dict[str, str]:
    """Return what a machine says of itself after an error."""
    return {
        "FL_STATE": "failed",
        "FL_ERROR": (str(error) or type(error).__name__)[:MAX_ERROR_CHARACTERS],
        "READY": "NO",
    }
