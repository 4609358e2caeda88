"""`oneflower appliance doctor`: exit codes, what is printed, and a bundle."""

import json
import tarfile

import pytest
from typer.testing import CliRunner

import oneflower.cli.doctor as command
from oneflower.cli.main import app
from oneflower.errors import SettingsError, StateError
from oneflower.findings import ok, problem, warning

SECRET = "a-token-of-mine-0123"


@pytest.fixture
def examined(monkeypatch):
    """Find what a test says, on a machine whose environment has a secret."""
    found = [ok("context", "read from a file"), warning("clock", "20 s behind", "start chrony")]
    monkeypatch.setattr(command, "examine", lambda host: found)
    monkeypatch.setattr(
        command, "collect", lambda host, report, rows: [("doctor.txt", report), ("x", SECRET)]
    )
    monkeypatch.setenv("FL_DASHBOARD_TOKEN", SECRET)
    return found


def doctor(*words):
    return CliRunner().invoke(app, ["appliance", "doctor", *words])


def test_warnings_are_no_problem(examined):
    shown = doctor("--role", "superlink")
    assert shown.exit_code == 0, shown.output
    assert "warning  clock           20 s behind\n" in shown.output
    assert "fix             start chrony\n" in shown.output
    assert "1 warning" in shown.output.splitlines()[-1]


def test_a_problem_has_an_exit_code_of_its_own(examined):
    examined.append(problem("docker", f"it said {SECRET}", "restart it"))
    shown = doctor("--role", "superlink", "--json")
    assert shown.exit_code == 8
    document = json.loads(shown.output)
    assert (document["role"], document["ok"]) == ("superlink", False)
    assert document["checks"][-1] == {
        "check": "docker",
        "outcome": "problem",
        "found": "it said ********",
        "fix": "restart it",
    }


def test_a_bundle_is_written_beside_what_is_printed(examined, tmp_path):
    shown = doctor("--role", "supernode", "--bundle", str(tmp_path / "b.tar.gz"))
    assert shown.exit_code == 0, shown.output
    assert "read it before you share it" in shown.output
    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        texts = [archive.extractfile(member).read().decode() for member in archive]
    assert "20 s behind" in texts[0]
    assert SECRET not in "".join(texts)


def test_a_bundle_that_is_there_is_refused_before_anything_else(examined, tmp_path):
    (tmp_path / "b").touch()
    assert isinstance(doctor("--bundle", str(tmp_path / "b")).exception, StateError)


def test_wrong_usage_is_told(examined, monkeypatch):
    assert doctor("--role", "frontend").exit_code == 2
    # This machine is no VM of oneflower.
    error = doctor().exception
    assert isinstance(error, SettingsError)
    assert error.exit_code == 2
