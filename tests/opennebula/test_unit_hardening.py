"""What systemd keeps from each unit: its own measure, and what a unit must not lose."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from oneflower.errors import ClusterError
from oneflower.opennebula.appliance import services
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.units import again_unit, container_unit, has_daemon, report_unit
from oneflower.opennebula.roles import Machine
from oneflower.settings import resolve

ROOT = Path(__file__).parents[2]
ANALYZE = shutil.which("systemd-analyze")
# Exposure from 0 to 10, by `systemd-analyze security`; docs/deploy.md has the table.
BOUNDS = {
    "flower-superlink.service": 1.0,
    "flower-supernode.service": 1.0,
    "flower-superexec.service": 1.0,
    "flower-supervisor.service": 1.0,
    "flower-dashboard.service": 1.0,
    "flower-report.service": 2.5,
    "flower-again.service": 3.0,
    "flower-again-gpu.service": 3.2,
    "oneflower-after-power-cut.service": 1.0,
    "oneflower-mount-disks.service": 4.1,
    "oneflower-dashboard.service": 1.5,
}


def units():
    """Return the text of every unit by its name."""
    given = resolve({}, {"FL_ISOLATION": "process", "FL_USE_CASE": "image-classification"}).settings
    containers = [
        *services.superlink_containers(given, Layout()),
        *services.supernode_containers(given, Layout(), superlink="10.0.0.1:9092", pairs={}),
    ]
    written = [*(ROOT / "appliances/image").glob("*.service"), *(ROOT / "monitoring").glob("*.service")]
    return {
        **{container.unit: container_unit(container) for container in containers},
        "flower-report.service": report_unit(Machine.SUPERLINK),
        "flower-again.service": again_unit(Machine.SUPERNODE),
        "flower-again-gpu.service": again_unit(Machine.SUPERNODE, gpu=True),  # installed under the same name
        **{path.name: path.read_text(encoding="utf-8") for path in written},
    }


def lines(text, key):
    return re.findall(rf"(?m)^{key}=(.*)$", text)


def test_every_unit_has_a_bound():
    assert units().keys() == BOUNDS.keys()


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_a_unit_is_not_more_exposed_than_the_docs_say(name, tmp_path):
    file = tmp_path / name
    file.write_text(units()[name], encoding="utf-8")
    command = [ANALYZE, "security", "--offline=yes", "--no-pager", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    if found is None and "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze reads no files")
    assert found, done.stderr
    assert float(found[1]) <= BOUNDS[name]


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_no_unit_may_gain_rights_or_load_modules(name):
    text = units()[name]
    assert lines(text, "NoNewPrivileges") == ["yes"]
    assert lines(text, "CapabilityBoundingSet")
    assert not re.search(r"CapabilityBoundingSet=.*(SYS_MODULE|SYS_PTRACE|NET_ADMIN|~)", text)


@pytest.mark.parametrize("name", sorted(set(BOUNDS) - {"oneflower-mount-disks.service"}))
def test_a_unit_cannot_change_the_system(name):
    (protect,) = lines(units()[name], "ProtectSystem")
    assert protect == ("yes" if name.startswith("flower-again") else "strict")


def test_what_mounts_the_disks_has_the_mount_namespace_of_the_machine():
    """In one of its own its mounts would be seen by nobody else."""
    text = units()["oneflower-mount-disks.service"]
    namespaced = (
        "ProtectSystem|ProtectHome|Private[A-Z]|ReadWritePaths|ProtectKernel|ProtectControl|ProtectProc"
    )
    assert not re.search(rf"(?m)^({namespaced}|ProtectClock|DevicePolicy|InaccessiblePaths)", text)
    assert "CAP_SYS_ADMIN" in text


@pytest.mark.parametrize("machine", list(Machine))
def test_the_report_may_write_what_it_renews(machine):
    """Certificates below /opt/flower, units, and the lock of OneGate."""
    text = report_unit(machine)
    assert lines(text, "ReadWritePaths") == ["/opt/flower /etc/systemd/system"]
    assert lines(text, "RuntimeDirectory") == ["oneflower"]
    assert lines(text, "RuntimeDirectoryPreserve") == ["yes"]


def test_the_client_of_a_container_reaches_dockerds_socket_and_nothing_else():
    for container in services.superlink_containers(resolve({}, {}).settings, Layout()):
        text = container_unit(container)
        assert lines(text, "RestrictAddressFamilies") == ["AF_UNIX"]
        assert lines(text, "PrivateNetwork") == ["yes"]
        assert lines(text, "CapabilityBoundingSet") == [""]


class Engine:
    """A `docker` that says what it is, or that is not there."""

    def __init__(self, says):
        self.says = says

    def run(self, *command):
        assert command == ("/usr/bin/docker", "--version")
        if self.says is None:
            raise ClusterError("not installed")
        return self.says


@pytest.mark.parametrize(
    ("says", "daemon"),
    [
        ("Docker version 28.2.2, build e6534b4\n", True),
        ("podman version 4.3.1\n", False),
        (None, True),  # `doctor` says what is missing
    ],
)
def test_a_container_that_is_the_units_own_child_is_not_bound_as_dockerds_client(says, daemon):
    assert has_daemon(Engine(says)) is daemon
    for container in services.superlink_containers(resolve({}, {}).settings, Layout()):
        text = container_unit(container, daemon=has_daemon(Engine(says)))
        assert bool(lines(text, "CapabilityBoundingSet")) is daemon
        assert bool(lines(text, "NoNewPrivileges")) is daemon
        assert "--cap-drop=ALL" in text
