"""The systemd units: each a container in the foreground, by an argument list and without a shell."""

from dataclasses import dataclass

from oneflower.opennebula.rendering import render
from oneflower.opennebula.roles import CONTAINER_UID, Machine

DOCKER = "/usr/bin/docker"
ONEFLOWER = "/opt/oneflower/venv/bin/oneflower"
STOP_S = 5

RESTRICTIONS = (
    "--pull=never",
    "--network=host",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--read-only",
    "--tmpfs=/tmp:rw,size=1g,mode=1777",
    "--shm-size=1g",
    # systemd's journal has every line already.
    "--log-driver=none",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder of the machine inside a container; read-only unless said otherwise."""

    source: str
    target: str
    writable: bool = False

    @property
    def option(self) -> str:
        """The argument of ``docker run``."""
        return f"--volume={self.source}:{self.target}:{'rw' if self.writable else 'ro'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container that a unit keeps running.

    Attributes
    ----------
    runs_oneflower
        It runs `oneflower` in place of a Flower program.
    supervises
        It sees the processes of the others (to end those that hang; they are of the same user), and comes to
        an end.
    expendable
        When memory runs out the kernel ends it before a training.
    """

    name: str
    description: str
    machine: Machine
    environment: str
    mounts: tuple[Mount, ...]
    arguments: tuple[str, ...]
    after: str = ""
    runs_oneflower: bool = False
    supervises: bool = False
    expendable: bool = False

    @property
    def unit(self) -> str:
        """The name of its unit."""
        return f"{self.name}.service"

    def command(self) -> list[str]:
        """Return the ``docker run`` that stays in the foreground."""
        options = [
            f"--name={self.name}",
            f"--user={CONTAINER_UID}:{CONTAINER_UID}",
            f"--env-file={self.environment}",
        ]
        options += [mount.option for mount in self.mounts]
        options += ["--pid=host"] if self.supervises else ["--init"]
        options += ["--entrypoint=oneflower"] if self.runs_oneflower else []
        options += ["--oom-score-adj=500"] if self.expendable else []
        return [DOCKER, "run", "--rm", *RESTRICTIONS, *options, self.machine.container_image, *self.arguments]


def container_unit(container: Container) -> str:
    """Return the unit's text."""
    return render(
        "units/container.service",
        name=container.name,
        description=container.description,
        after=container.after,
        command=container.command(),
        supervises=container.supervises,
        docker=DOCKER,
        stop_s=STOP_S,
    )


def report_unit(machine: Machine) -> str:
    """Return the unit of the report to OneGate."""
    return render("units/report.service", label=machine.label, role=machine, oneflower=ONEFLOWER)


def again_unit(machine: Machine) -> str:
    """Return the unit that runs failed stages again."""
    return render("units/again.service", label=machine.label, role=machine, oneflower=ONEFLOWER)
