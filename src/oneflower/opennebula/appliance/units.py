"""The systemd units: each a container in the foreground, by an argument list and without a shell."""

from collections.abc import Sequence
from dataclasses import dataclass

from oneflower.opennebula.containers import UID, image
from oneflower.opennebula.roles import Machine

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

_CONTAINER = """\
# Written by `oneflower appliance`; changes here are lost.
[Unit]
Description={description}
After=docker.service network-online.target{after}
Wants=docker.service network-online.target
StartLimitIntervalSec=0

[Service]
ExecStartPre=-{docker} rm --force {name}
ExecStart={command}
ExecStop={docker} stop --time {stop_s} {name}
{restart}
RestartSec=10
TimeoutStartSec=0
TimeoutStopSec=30
"""
_FOR_EVER = "Restart=always"
# A supervisor has an end, good or bad, and then stays as it is: 2 settings, 5 app, 6 training, errors.py.
_TO_THE_END = "Restart=on-failure\nRestartPreventExitStatus=2 5 6\nRemainAfterExit=yes"

_REPORT = """\
# Written by `oneflower appliance`; changes here are lost.
[Unit]
Description=Report of a oneflower {label} to OneGate
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={oneflower} appliance report --role {role}
Restart=always
RestartSec=10
UMask=0077
NoNewPrivileges=yes
"""


_AGAIN = """\
# Written by `oneflower appliance`; changes here are lost.
[Unit]
Description=Run the failed stages of a oneflower {label} again
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={oneflower} appliance again --role {role}
# Wrong settings (2), an app that does not fit (5), what else will not pass (6) stay as they are: errors.py.
Restart=on-failure
RestartPreventExitStatus=2 5 6
RestartSec=60
TimeoutStopSec=30
UMask=0077
"""


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
        options = [f"--name={self.name}", f"--user={UID}:{UID}", f"--env-file={self.environment}"]
        options += [mount.option for mount in self.mounts]
        options += ["--pid=host"] if self.supervises else ["--init"]
        options += ["--entrypoint=oneflower"] if self.runs_oneflower else []
        options += ["--oom-score-adj=500"] if self.expendable else []
        return [DOCKER, "run", "--rm", *RESTRICTIONS, *options, image(self.machine), *self.arguments]


def container_unit(container: Container) -> str:
    """Return the unit's text."""
    return _CONTAINER.format(
        description=container.description,
        after=f" {container.after}" if container.after else "",
        docker=DOCKER,
        name=container.name,
        command=command_line(container.command()),
        stop_s=STOP_S,
        restart=_TO_THE_END if container.supervises else _FOR_EVER,
    )


def report_unit(machine: Machine) -> str:
    """Return the unit of the report to OneGate."""
    return _REPORT.format(label=machine.label, role=machine.value, oneflower=ONEFLOWER)


def again_unit(machine: Machine) -> str:
    """Return the unit that runs failed stages again."""
    return _AGAIN.format(label=machine.label, role=machine.value, oneflower=ONEFLOWER)


def command_line(arguments: Sequence[str]) -> str:
    r"""Write arguments so that systemd gives them to the program as they are.

    ``%`` and ``$`` would be expanded; a backslash and a quote would end or change a word: systemd.service(5).
    """
    return " ".join(_quoted(argument) for argument in arguments)


def _quoted(argument: str) -> str:
    text = argument.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"'
