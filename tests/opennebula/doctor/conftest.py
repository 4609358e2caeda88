"""A machine that doctor looks at, whose programs are not there: each test breaks one thing."""

import json
import os
from datetime import UTC, datetime

import pytest

from oneflower.errors import ClusterError
from oneflower.opennebula.doctor import Host, find_context
from oneflower.opennebula.doctor.checks_units import REPORT
from oneflower.opennebula.roles import Machine
from oneflower.settings import render_context

as_root = pytest.mark.skipif(os.getuid() != 0, reason="files are tried as another user")
SUPERLINK_UNITS = ("flower-superlink.service", "flower-dashboard.service", REPORT)


class Programs:
    """What the machine's programs say; a text, or a ClusterError."""

    def __init__(self):
        self.units = {}
        self.logs = {}
        self.docker = json.dumps({"version": "27.1", "options": ["name=seccomp,profile=builtin"]})
        self.image = "sha256:0123456789abcdef"
        self.synchronized = "yes\n"
        self.calls = []
        self.true = {}  # units of which `is-active` or `is-failed` is true

    def unit(self, name, active="active", sub="running", **more):
        self.units[name] = {"LoadState": "loaded", "ActiveState": active, "SubState": sub, **more}

    def run(self, *command):
        self.calls.append(command)
        said = self._said(command)
        if isinstance(said, ClusterError):
            raise said
        return said

    def _said(self, command):
        words = set(command)
        if "--property=InvocationID" in words:
            return "id"
        if "--quiet" in words:
            return "" if command[-1] in self.true.get(command[1], ()) else ClusterError("no")
        if command[0].endswith("systemctl") and "--" in words:
            return self._shown(command[command.index("--") + 1 :])
        if command[0].endswith("journalctl"):
            return self.logs.get(command[-1].removeprefix("--unit="), "")
        answers = {"info": self.docker, "inspect": self.image, "-json": "[]"}
        answers["--property=NTPSynchronized"] = self.synchronized
        said = [answer for word, answer in answers.items() if word in words]
        return said[0] if said else f"{' '.join(command)} was run\n"

    def _shown(self, names):
        if isinstance(self.units, ClusterError):
            return self.units
        shown = [{"Id": name, "LoadState": "not-found", **self.units.get(name, {})} for name in names]
        return "\n\n".join("\n".join(f"{k}={v}" for k, v in each.items()) for each in shown)


@pytest.fixture
def programs():
    found = Programs()
    for name in SUPERLINK_UNITS:
        found.unit(name)
    return found


@pytest.fixture
def host_of(layout, programs, client_of):
    """Return a host of a role; `vm` is its id at OneGate, `kept` what configure kept of the context."""

    def make(machine="superlink", vm=None, now=None, kept=True, onegate=None, **context):
        if kept:
            layout.config.mkdir(parents=True, exist_ok=True)
            layout.context.write_text(render_context(context if kept is True else kept))
        client = onegate or (client_of(vm) if vm else None)
        return Host(
            machine=Machine(machine),
            found=find_context(layout, context),
            onegate=client,
            layout=layout,
            commands=programs,
            **({"now": lambda: now} if now else {"now": lambda: datetime.now(UTC)}),
        )

    return make


@pytest.fixture
def stage_ended(layout):
    """Write what one-apps has written last."""

    def write(status):
        folder = layout.root / "etc/one-appliance"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "status").write_text(f"{status}\n")

    return write


@pytest.fixture
def outcome():
    """Return the outcome, what was found and how to fix it of a check that found one thing."""

    def of(findings):
        (finding,) = list(findings)
        return finding.outcome.value, finding.found, finding.fix

    return of
