"""What a power cut leaves behind does not keep the next boot from running the stages."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oneflower.opennebula.appliance.systemd import Systemd, Unit
from oneflower.tls import Authority, make_authority

IMAGE = Path(__file__).parents[2] / "appliances/image"
STATES = [
    f"{stage}_{result}"
    for stage in ("install", "configure", "bootstrap")
    for result in ("started", "success", "failure")
]


@pytest.fixture
def root(tmp_path):
    """A machine's root with what the image installs for its boot."""
    subprocess.run([IMAGE / "boot.sh", tmp_path], check=True)
    for name in ("etc/one-appliance", "var/log/one-appliance"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def fix(root):
    return subprocess.run([root / "opt/oneflower/after-power-cut", root], check=True, capture_output=True)


@pytest.mark.parametrize("left", ["", "\n", "configure_succ\n", "bootstrap", "\0" * 18, "b", None])
def test_a_status_that_was_cut_off_lets_the_stages_begin_again(root, left):
    status = root / "etc/one-appliance/status"
    if left is not None:
        status.write_text(left)
    fix(root)
    assert status.read_text() == "install_success\n"
    assert [path.name for path in status.parent.iterdir()] == ["status"]


@pytest.mark.parametrize("state", STATES)
def test_a_status_that_is_whole_stays(root, state):
    """An install that failed is no image, and is not made one."""
    status = root / "etc/one-appliance/status"
    status.write_text(f"{state}\n")
    before = status.stat().st_ino
    fix(root)
    assert (status.read_text(), status.stat().st_ino) == (f"{state}\n", before)


def test_the_pipe_of_the_log_is_removed_and_the_logs_stay(root):
    logs = root / "var/log/one-appliance"
    os.mkfifo(logs / "one_service_log.pipe")
    (logs / "configure.log").write_text("x")
    fix(root)
    fix(root)
    assert [path.name for path in logs.iterdir()] == ["configure.log"]


def test_the_boot_runs_it_before_the_stages(root):
    name = "oneflower-after-power-cut.service"
    unit = root / "etc/systemd/system" / name
    wanted = root / "etc/systemd/system/one-context.service.wants" / name
    assert wanted.resolve() == unit.resolve()
    assert "Before=one-context.service\n" in unit.read_text()
    assert "ExecStart=/opt/oneflower/after-power-cut\n" in unit.read_text()
    assert "/boot.sh" in (IMAGE / "install.sh").read_text()


def test_nothing_sources_the_context(root):
    """one-apps' report of READY does: `$(...)` of a value would run as root."""
    script = root / "etc/one-context.d/net-99-report-ready"
    script.parent.mkdir()
    script.touch()
    subprocess.run([IMAGE / "boot.sh", root], check=True)
    assert not script.exists()


def test_a_unit_is_replaced_whole_or_not_at_all(layout, commands, monkeypatch):
    """An empty unit would be loaded by systemd until the stages have run again."""
    path = layout.units / "flower-report.service"
    Systemd(layout, commands).write([Unit(name=path.name, text="old\n")])

    def cut(*_):
        raise OSError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", cut)
        with pytest.raises(Exception, match="cannot write"):
            Systemd(layout, commands).write([Unit(name=path.name, text="new\n")])
    assert path.read_text() == "old\n"
    Systemd(layout, commands).write([Unit(name=path.name, text="new\n")])
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new\n", 0o644)
    assert [each.name for each in layout.units.iterdir()] == [path.name]


def test_an_authority_of_two_halves_is_none():
    """A power cut between its certificate and its key leaves a new one beside an old one."""
    old, new = (make_authority(datetime.now(UTC)) for _ in range(2))
    with pytest.raises(ValueError, match="does not belong"):
        Authority.from_pem(new.certificate_pem(), old.key_pem())
