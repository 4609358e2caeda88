"""The bundle holds what a bug report needs, is private, bounded, and overwrites nothing."""

import json
import stat
import tarfile
import threading

import pytest

from oneflower.errors import ClusterError, StateError
from oneflower.opennebula.doctor import (
    Masker,
    bundle,
    checks_onegate,
    collect,
    contents,
    masker_of,
    write_bundle,
)

NOBODY = Masker(frozenset())


def texts_of(path):
    with tarfile.open(path) as archive:
        return {m.name.partition("/")[2]: archive.extractfile(m).read().decode() for m in archive}


def test_a_bundle_is_private_and_holds_its_texts(tmp_path):
    path = tmp_path / "report.tar.gz"
    size_bytes = write_bundle(path, [("a.txt", "one"), ("b/c.txt", "two")], NOBODY)
    assert texts_of(path) == {"a.txt": "one", "b/c.txt": "two"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size == size_bytes
    assert [each.name for each in tmp_path.iterdir()] == ["report.tar.gz"]
    with tarfile.open(path) as archive:
        assert {name.partition("/")[0] for name in archive.getnames()} == {"report"}


@pytest.mark.parametrize("make", ["file", "dangling link"])
def test_nothing_is_overwritten(tmp_path, make):
    path = tmp_path / "report.tar.gz"
    if make == "file":
        path.write_text("mine")
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StateError, match="not overwritten"):
        write_bundle(path, [("a.txt", "one")], NOBODY)
    assert make != "file" or path.read_text() == "mine"
    assert [each.name for each in tmp_path.iterdir()] == ["report.tar.gz"]


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    path = tmp_path / "report.tar.gz"

    def members():
        yield "a.txt", "one"
        path.write_text("mine")

    with pytest.raises(StateError, match="not overwritten"):
        write_bundle(path, members(), NOBODY)
    assert path.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_missing_is_told_at_once(tmp_path):
    with pytest.raises(StateError, match="does not exist"):
        bundle.refuse_existing(tmp_path / "no/report.tar.gz")


def test_sizes_are_bounded_and_the_end_of_a_log_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "MEMBER_BYTES", 100)
    monkeypatch.setattr(bundle, "BUNDLE_BYTES", 250)
    texts = [(f"{number}.log", "x" * 500 + "the end") for number in range(4)]
    write_bundle(tmp_path / "b.tgz", texts, NOBODY)
    found = texts_of(tmp_path / "b.tgz")
    assert (len(found["0.log"]), found["0.log"][-7:]) == (100, "the end")
    assert found.keys() == {"0.log", "1.log", "left-out.txt"}
    assert found["left-out.txt"].split() == ["2.log", "3.log"]


@pytest.fixture
def whole(host_of, layout, client_of, onegate, programs):
    """Return everything of a machine that has secrets in its context, logs, journal and units."""
    context = {
        "FL_DASHBOARD_TOKEN": "dashboard-7f3a9c51e08b6d24",
        "FL_DASHBOARD_ADDRESS": "0.0.0.0:8265",
        "TOKENTXT": "token-10",
        "PASSWORD": "root-password",
        "ETH0_IP": "10.77.0.2",
        "FL_NUM_ROUNDS": "7",
        "VMID": "10",
        "START_SCRIPT": "echo hello",
    }
    onegate.state.vms[10]["template"].update({"FL_STATE": "waiting", "PASSWORD": "root-password"})
    logs = layout.root / "var/log/one-appliance"
    logs.mkdir(parents=True)
    (logs / "configure.log").write_text("export TOKENTXT=token-10\nAuthorization: Bearer abcdefgh\n")
    layout.make(checkpoints=True)
    layout.journal.write_text('{"event": "x", "token": "token-10"}\n')
    (layout.checkpoints / "checkpoint_round_3.npz").write_bytes(b"model bytes")
    (layout.certs / "superlink.key").write_text(
        "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"
    )
    programs.logs["flower-superlink.service"] = "PASSWORD=root-password dashboard-7f3a9c51e08b6d24"
    host = host_of(vm=10, **context)
    list(checks_onegate.answers(host))
    return host, masker_of(host.found, layout)


def test_everything_that_a_report_needs_is_there_without_secrets(whole, tmp_path):
    host, mask = whole
    write_bundle(tmp_path / "b.tar.gz", collect(host, "the report", '{"ok": true}'), mask)
    found = texts_of(tmp_path / "b.tar.gz")
    assert found["doctor.txt"] == "the report"
    assert "FL_NUM_ROUNDS=7" in found["settings.txt"]
    assert "FL_DASHBOARD_TOKEN=********" in found["settings.txt"]
    assert "ETH0_IP=10.77.0.2" in found["settings.txt"]
    assert "START_SCRIPT" not in found["settings.txt"]
    assert json.loads(found["onegate.json"]) == {"FL_STATE": "waiting"}
    assert "checkpoint_round_3.npz" in found["checkpoints.txt"]
    assert "flwr 1.25.0" in found["versions.txt"]
    assert "ip route was run" in found["network.txt"]
    assert "journalctl" in found["units/flower-superlink.service.txt"]
    everything = "".join(found.values())
    for secret in (
        "dashboard-7f3a9c51e08b6d24",
        "token-10",
        "root-password",
        "abcdefgh",
        "model bytes",
        "\nabc\n",
    ):
        assert secret not in everything, secret


def test_programs_that_fail_do_not_stop_a_bundle(host_of, programs, tmp_path):
    """Settings that are wrong, a machine without folders, no systemd."""

    def fail(*command):
        raise ClusterError(f"{command[0]} is not installed")

    programs.run = fail
    host = host_of(FL_NUM_ROUNDS="0", kept=False)
    write_bundle(tmp_path / "b.tar.gz", collect(host, "", ""), NOBODY)
    found = texts_of(tmp_path / "b.tar.gz")
    assert "1 problem in the settings" in found["settings.txt"]
    assert "is not installed" in found["network.txt"]


def test_a_bundle_has_an_end(host_of):
    names = [name for name, _ in collect(host_of(), "", "", budget_s=-1.0)]
    assert names[:2] == ["doctor.txt", "doctor.json"]
    assert all(name.endswith(".left-out") for name in names[2:])


def test_what_does_not_answer_is_left_behind(host_of, layout, monkeypatch):
    """A folder on a dead share: the checks were bounded, and the bundle waited for ever."""
    monkeypatch.setattr(contents, "LONGEST_S", 0.2)
    monkeypatch.setattr(contents, "_names", lambda _: threading.Event().wait(5) or "late")
    found = dict(contents.collect(host_of(), "", ""))
    assert "checkpoints.txt.left-out" in found
    assert "versions.txt" in found
