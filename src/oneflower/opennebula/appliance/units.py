"""The systemd units: each runs a container in the foreground, by an argument list without a shell."""

from collections.abc import Sequence
from dataclasses import dataclass

from oneflower.errors import ClusterError
from oneflower.files import MOST_OPEN
from oneflower.opennebula.appliance.commands import Commands
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
    # Each connection of a SuperNode is a file.
    f"--ulimit=nofile={MOST_OPEN}:{MOST_OPEN}",
    # systemd's journal already has every line.
    "--log-driver=none",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder of the machine mounted in a container."""

    source: str
    target: str
    writable: bool = False

    @property
    def option(self) -> str:
        """The argument of ``docker run``."""
        return f"--volume={self.source}:{self.target}:{'rw' if self.writable else 'ro'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """What a container gets of the machine's GPUs, where the operator wants them used.

    Attributes
    ----------
    arguments
        The arguments of ``docker run``; empty where no GPU can be used.
    visible
        FL_CUDA_VISIBLE_DEVICES inside of the container, which numbers the GPUs that it has from 0.
    """

    arguments: tuple[str, ...] = ()
    visible: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container that a unit keeps running.

    Attributes
    ----------
    runs_oneflower
        Whether it runs `oneflower` instead of a Flower program.
    supervises
        Whether it ends by itself, and sees the processes of the other containers to end those that hang.
    expendable
        Whether the machine is READY without it, and the kernel ends it first when memory runs out.
    devices
        Its GPUs; None where the operator wants none.
    """

    name: str
    description: str
    machine: Machine
    image: str
    environment: str
    mounts: tuple[Mount, ...]
    arguments: tuple[str, ...]
    after: str = ""
    runs_oneflower: bool = False
    supervises: bool = False
    expendable: bool = False
    devices: Devices | None = None

    @property
    def uses_gpu(self) -> bool:
        """Whether it gets a GPU."""
        return self.devices is not None and bool(self.devices.arguments)

    @property
    def unit(self) -> str:
        """The name of its unit."""
        return f"{self.name}.service"

    def command(self) -> list[str]:
        """Return the ``docker run`` command, which stays in the foreground."""
        options = [
            f"--name={self.name}",
            f"--user={CONTAINER_UID}:{CONTAINER_UID}",
            f"--env-file={self.environment}",
        ]
        options += [mount.option for mount in self.mounts]
        options += ["--pid=host"] if self.supervises else ["--init"]
        options += ["--entrypoint=oneflower"] if self.runs_oneflower else []
        options += ["--oom-score-adj=500"] if self.expendable else []
        options += self.devices.arguments if self.devices else ()
        return [DOCKER, "run", "--rm", *RESTRICTIONS, *options, self.image, *self.arguments]


def module_command(name: str, image: str, arguments: Sequence[str], module: str) -> list[str]:
    """Return the ``docker run`` command of a Python module, in a container as bound as the others are."""
    bound = [option for option in RESTRICTIONS if not option.startswith("--network=")]
    user = f"--user={CONTAINER_UID}:{CONTAINER_UID}"
    options = [*bound, "--network=none", f"--name={name}", user, "--init", "--env=HOME=/tmp", *arguments]
    return [DOCKER, "run", "--rm", *options, "--entrypoint=python", image, "-P", "-m", module]


def has_daemon(commands: Commands) -> bool:
    """Whether containers are started by dockerd, so that a unit's restrictions bind the client alone.

    podman-docker has no daemon: the container is the unit's own child, and what binds dockerd's client would
    end it.
    """
    try:
        return "podman" not in commands.run(DOCKER, "--version").lower()
    except ClusterError:
        return True


def container_unit(container: Container, *, daemon: bool = True) -> str:
    """Return the unit's text; without a daemon it restricts nothing but the container."""
    return render(
        "units/container.service",
        name=container.name,
        description=container.description,
        after=container.after,
        command=container.command(),
        supervises=container.supervises,
        docker=DOCKER,
        daemon=daemon,
        stop_s=STOP_S,
        gpu=container.uses_gpu,
    )


def report_unit(machine: Machine) -> str:
    """Return the unit that reports to OneGate."""
    return render("units/report.service", label=machine.label, role=machine, oneflower=ONEFLOWER)


def again_unit(machine: Machine, *, gpu: bool = False) -> str:
    """Return the unit that repeats failed stages; with `gpu` it may open the devices of NVIDIA's driver."""
    return render("units/again.service", label=machine.label, role=machine, oneflower=ONEFLOWER, gpu=gpu)
