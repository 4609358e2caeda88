"""Hosts on this machine: real systemd in systemd-nspawn, an address and a disk each, one switch between them.

Everything that is made here is undone by `Lab.close`: processes, mounts, network namespaces, cgroups.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from hosts_leftovers import CGROUPS, TAG, remove_groups, run, sweep

from oneflower.settings import render_context

NETWORK = "10.77.0"
GATEWAY = f"{NETWORK}.1"
ONEGATE_PORT = 5030
HERE = Path(__file__).parent
ROOT = HERE.parents[2]
# Where one-context and one-apps install what stands in for them here, and with which modes.
ONE_APPS = {
    "usr/sbin/one-contextd": 0o755,
    "usr/bin/onegate": 0o755,
    "etc/one-context.d/loc-16-gen-env": 0o755,
    "etc/one-context.d/net-90-service-appliance": 0o755,
    "etc/one-context.d/net-99-report-ready": 0o755,
    "etc/one-appliance/service": 0o755,
    "etc/systemd/system/one-context-local.service": 0o644,
    "etc/systemd/system/one-context-online.service": 0o644,
    "etc/systemd/system/one-context.service": 0o644,
    "etc/systemd/system/one-context-reconfigure.service": 0o644,
}
STATUS = "etc/one-appliance/status"
STOP_S = 30


class Lab:
    """A switch, a OneGate at its first address, and hosts."""

    def __init__(self, folder, kind):
        """`folder` keeps the disks; `kind` has `make`, `options` of systemd-nspawn, and `remove`."""
        self.folder, self.kind = folder, kind
        self.tag = f"{TAG}{os.getpid()}"
        self.hosts = []
        self._gone, self._faults = [], {}
        self._undo = []
        self._onegate = None
        self.events = folder / "onegate.jsonl"
        self.events.touch()

    def make_switch(self):
        """Connect the hosts that will come."""
        sweep()
        self.hub = f"{self.tag}hub"
        run("ip", "netns", "add", self.hub)
        self._undo.append(lambda: run("ip", "netns", "delete", self.hub, check=False))
        run("ip", "-n", self.hub, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.hub, "link", "set", "br0", "up")
        run("ip", "-n", self.hub, "link", "set", "lo", "up")
        run("ip", "-n", self.hub, "addr", "add", f"{GATEWAY}/24", "dev", "br0")

    def start_onegate(self):
        """Serve OneGate for the hosts that were added."""
        self.write_service()
        server = HERE.parents[1] / "opennebula" / "onegate_server.py"
        self._onegate = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                self.hub,
                sys.executable,
                str(server),
                GATEWAY,
                str(ONEGATE_PORT),
                str(self.folder / "service.json"),
                str(self.events),
            ],
        )

    def faults(self, **faults):
        """Have OneGate do wrong from now on what `onegate_server.Faults` says; without a word nothing."""
        self._faults = faults
        self.write_service()

    def scale_in(self, host):
        """Take a VM out of the service, and its power away."""
        self.write_service(without=host)
        host.kill()

    def write_service(self, *, without=None):
        """Say which VMs the service has now; one that is taken out stays out."""
        self._gone += [without] if without else []
        hosts = [host for host in self.hosts if host not in self._gone]
        vms = {host.vm: {"role": host.role, "ip": host.address} for host in hosts}
        content = {"vms": vms, "tokens": {host.vm: host.token for host in hosts}, "faults": self._faults}
        whole = self.folder / "service.json.new"
        whole.write_text(json.dumps(content))
        whole.replace(self.folder / "service.json")

    def add(self, role, vm, **context):
        host = Host(self, role, vm, context)
        self.hosts.append(host)
        host.make()
        return host

    def close(self):
        """Undo everything, whatever of it fails; the first failure is told at the end."""
        steps = [step for host in self.hosts for step in (host.kill, host.remove)]
        failures = [
            failure for step in [*steps, self._stop_onegate, *reversed(self._undo)] if (failure := _try(step))
        ]
        if failures:
            raise failures[0]

    def _stop_onegate(self):
        if self._onegate:
            self._onegate.kill()
            self._onegate.wait(timeout=STOP_S)


class Host:
    """One machine of the service; `vm` is its id, from which its address follows."""

    def __init__(self, lab, role, vm, context):
        self.lab, self.role, self.vm = lab, role, vm
        self.name = f"{lab.tag}v{vm}"
        self.address = f"{NETWORK}.{vm}"
        self.token = f"token{vm}"
        self.context = context
        self.disk = lab.folder / f"vm-{vm}"
        self.init = None
        self._process = None
        self._before = 0

    def make(self):
        """Give it a disk and a cable; what fails half-way is taken away with the rest."""
        self._make_disk()
        self._make_link()

    def _make_disk(self):
        """Make what this host writes, kept over boots, with what an image has after `service install`."""
        (self.disk / "context").mkdir(parents=True)
        self.lab.kind.make(self.disk)
        root = self.disk / "root"
        for path, mode in ONE_APPS.items():
            self._install(HERE / "one_apps" / Path(path).name, path, mode)
        shim = "etc/one-appliance/service.d/appliance.sh"
        self._install(ROOT / f"appliances/oneflower-{self.role}/appliance.sh", shim, 0o644)
        wants = root / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        for name in ("one-context-local", "one-context-online", "one-context"):
            (wants / f"{name}.service").symlink_to(f"../{name}.service")
        (root / STATUS).write_text("install_success\n")
        # By the image's own script, as install.sh does.
        run(ROOT / "appliances/image/boot.sh", root)

    def _install(self, source, path, mode):
        first, _, rest = path.partition("/")
        target = self.lab.kind.usr(self.disk) / rest if first == "usr" else self.disk / "root" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        target.chmod(mode)

    def _make_link(self):
        run("ip", "netns", "add", self.name)
        run(
            "ip",
            "link",
            "add",
            self.name,
            "netns",
            self.lab.hub,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.name,
        )
        run("ip", "-n", self.lab.hub, "link", "set", self.name, "master", "br0", "up")
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        run("ip", "-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", self.name, "link", "set", "eth0", "up")

    def boot(self, target="multi-user.target"):
        """Start the machine with its context, and return when systemd runs."""
        self.write_context()
        self._before = len(self._changes())
        command = [
            "systemd-nspawn",
            "--quiet",
            f"--directory={self.disk}/root",
            f"--machine={self.name}",
            f"--hostname={self.role}-{self.vm}",
            "--register=no",
            "--keep-unit",
            f"--network-namespace-path=/run/netns/{self.name}",
            "--console=pipe",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--capability=all",
            "--system-call-filter=add_key keyctl bpf @keyring",
            f"--bind-ro={self.disk}/context:/context",
            *self.lab.kind.options(self.disk),
            "--boot",
            "--",
            f"systemd.unit={target}",
        ]
        environ = {
            **os.environ,
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
        }
        for hierarchy in CGROUPS:
            (hierarchy / self.name).mkdir(exist_ok=True)
        console = (self.disk / "console.log").open("ab")
        with console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=environ,
                preexec_fn=self._enter_cgroups,  # noqa: PLW1509 - no thread runs here
                start_new_session=True,
            )
        self.init = self._wait_for_init()

    def write_context(self):
        """Write what OpenNebula puts on the context's disk."""
        fixed = {
            "NETWORK": "YES",
            "TOKEN": "YES",
            "REPORT_READY": "YES",
            "ETH0_IP": self.address,
            "ONEGATE_ENDPOINT": f"http://{GATEWAY}:{ONEGATE_PORT}",
            "VMID": str(self.vm),
        }
        (self.disk / "context/context.sh").write_text(render_context({**fixed, **self.context}))
        (self.disk / "context/token.txt").write_text(self.token)

    def _enter_cgroups(self):
        """Hosts without cgroups of their own would share those of their units."""
        for hierarchy in CGROUPS:
            (hierarchy / self.name / "cgroup.procs").write_text(str(os.getpid()))

    def _wait_for_init(self):
        """Find PID 1 of the host: before it is systemd, it is a systemd-nspawn that will be gone."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        deadline = time.monotonic() + STOP_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(FileNotFoundError, ProcessLookupError):
                for child in children.read_text().split():
                    if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                        return int(child)
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} did not boot:\n{(self.disk / 'console.log').read_text()[-3000:]}")

    def update_context(self, **context):
        """Change context values on the running host, as `onevm updateconf` does: the stages run again."""
        self.context |= context
        self.write_context()
        self.run("systemctl", "start", "one-context-reconfigure.service", timeout=600)

    def has_begun(self):
        """Whether a stage of this boot has begun: the status alone may be of the boot before."""
        return Path(f"/proc/{self.init}/root/run/one-appliance-service.pid").exists()

    def stage(self):
        """What the stage runner says of the stages."""
        return self.file(STATUS).read_text().strip()

    def run(self, *command, check=True, timeout=120):
        """Run a program inside."""
        return run("nsenter", "--target", self.init, "--all", "--", *command, check=check, timeout=timeout)

    def says(self, text):
        """Whether the journal has a text. It does not always know of which unit a line of systemd-cat is."""
        return text in self.log(lines=1000)

    def log(self, unit=None, lines=60):
        units = [f"--unit={unit}"] if unit else []
        return self.run(
            "journalctl", "--no-pager", "--output=short-iso", f"--lines={lines}", *units, check=False
        )

    def kill(self):
        """Cut the power: every process ends at once, the disk stays."""
        if self._process is None:
            return
        # The end of PID 1 is the end of its namespace, with the containers in it.
        with suppress(ProcessLookupError):
            os.kill(self.init or self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=STOP_S)
        self._process = self.init = None
        self._remove_cgroups()

    def cut(self):
        """Pull the network cable."""
        run("ip", "-n", self.lab.hub, "link", "set", self.name, "down")

    def restore_link(self):
        run("ip", "-n", self.lab.hub, "link", "set", self.name, "up")

    def is_reached(self, port):
        """Whether another machine on the switch can open a connection."""
        code = f"import socket; socket.create_connection(('{self.address}', {port}), timeout=5)"
        enter = ["ip", "netns", "exec", self.lab.hub, sys.executable, "-c", code]
        return subprocess.run(enter, capture_output=True, check=False).returncode == 0

    def file(self, path):
        """A file of the host, seen from outside."""
        return self.disk / "root" / path.lstrip("/")

    def published(self):
        """What OneGate knows of this host."""
        found = self._changes()[-1:] or [{}]
        return {**found[0].get("template", {}), "gate": found[0].get("gate", False)}

    def is_ready(self):
        """Whether OneFlow's gate is open, by something that was published since the last boot."""
        return len(self._changes()) > self._before and self.published()["gate"]

    def _changes(self):
        lines = self.lab.events.read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["vm"] == self.vm]

    def remove(self):
        self.lab.kind.remove(self.disk)
        run("ip", "netns", "delete", self.name, check=False)
        self._remove_cgroups()

    def _remove_cgroups(self):
        for hierarchy in CGROUPS:
            remove_groups(hierarchy / self.name)


def _try(step):
    try:
        step()
    except Exception as error:  # noqa: BLE001 - the other steps have to be taken
        return error
    return None
