"""`oneflower config`: exit codes, reports, tables in a terminal and a pipe, and masked secrets."""

import base64
import json
import os
import pty
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oneflower.cli.main import main
from oneflower.settings import TABLE, render_context
from oneflower.settings.document import variables_page
from oneflower.tls import make_authority

MISTAKES = {
    "FL_NUM_ROUNDS": "0",
    "FL_STRATEGY": "fedavg",
    "FL_TRIM_BETA": "0.5",
    "FL_SERVER_LR": "nan",
    "FL_CHECKPOINT_ENABLED": "maybe",
    "FL_CHECKPOINT_PATH": "relative",
    "FL_FLEET_API_ADDRESS": "host:99999",
    "FL_SSL_KEYFILE": "hunter2 hunter2",
}
SECRET_PEM = "-----BEGIN PRIVATE KEY-----\nhunter22\n-----END PRIVATE KEY-----\n"
SECRET = base64.b64encode(SECRET_PEM.encode()).decode()
CERTIFICATE = base64.b64encode(
    b"-----BEGIN CERTIFICATE-----\n" + b"x" * 900 + b"\n-----END CERTIFICATE-----\n"
).decode()
TLS = {"FL_SSL_CA_CERTFILE": CERTIFICATE, "FL_SSL_CERTFILE": CERTIFICATE, "FL_SSL_KEYFILE": SECRET}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.removeprefix("ONEAPP_").startswith(("FL_", "FLOWER_", "ML_")):
            monkeypatch.delenv(name)


@pytest.fixture
def oneflower(monkeypatch, capsys):
    """Run the command line in this process; return exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["oneflower", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def context(tmp_path):
    def write(mapping):
        path = tmp_path / "context.sh"
        path.write_text(render_context(mapping), encoding="utf-8")
        return path

    return write


class TestCheck:
    def test_good_settings_exit_0(self, oneflower, context):
        code, out, err = oneflower("config", "check", "--context", context({"FL_NUM_ROUNDS": "5"}))
        assert (code, err) == (0, "")
        assert f"1 of {len(TABLE)} variables set" in out

    def test_eight_mistakes_are_reported_at_once_with_exit_2(self, oneflower, context, tmp_path):
        path = context(MISTAKES)
        code, out, err = oneflower("config", "check", "--context", path)
        assert (code, out) == (2, "")
        assert all(name in err for name in MISTAKES)
        assert "hunter2" not in err
        assert list(tmp_path.iterdir()) == [path]

    def test_warnings_are_printed_and_exit_0(self, oneflower, context):
        path = context({"FL_STRATEGY": "Krum", "FL_NUM_MALICIOUS": "2", "FL_MIN_AVAILABLE_CLIENTS": "3"})
        code, out, _ = oneflower("config", "check", "--context", path)
        assert code == 0
        assert "warning: FL_MIN_AVAILABLE_CLIENTS is 3" in out
        assert "raised to 7" in out

    def test_what_withstands_the_malicious_clients_is_said(self, oneflower, context):
        path = context({"FL_STRATEGY": "Bulyan", "FL_NUM_MALICIOUS": "2", "FL_MIN_AVAILABLE_CLIENTS": "7"})
        code, out, _ = oneflower("config", "check", "--context", path)
        assert code == 0
        assert "For 7 clients (FL_MIN_AVAILABLE_CLIENTS) and f = 2 (FL_NUM_MALICIOUS) these" in out
        assert "FL_STRATEGY=Bulyan is none of them: it needs 11 clients (4f+3). For uneven data" in out

    @pytest.mark.parametrize("role", ["SuperLink", "superlink"])
    def test_a_role_is_checked_by_its_own_rules(self, oneflower, context, role):
        pem = base64.b64encode(make_authority(datetime.now(UTC)).certificate_pem()).decode()
        path = context({"FL_SSL_CA_CERTFILE": pem})
        assert oneflower("config", "check", "--context", path)[0] == 0
        assert oneflower("config", "check", "--context", path, "--role", role)[0] == 2

    def test_a_missing_context_exits_2(self, oneflower, tmp_path):
        code, _, err = oneflower("config", "check", "--context", tmp_path / "none.sh")
        assert code == 2
        assert "none.sh" in err
        assert "check the path" in err

    def test_the_environment_is_checked_without_a_context(self, oneflower, monkeypatch):
        monkeypatch.setenv("ONEAPP_FL_NUM_ROUNDS", "x")
        code, _, err = oneflower("config", "check")
        assert code == 2
        assert "ONEAPP_FL_NUM_ROUNDS is 'x' (environment)" in err


class TestShow:
    def test_a_piped_table_has_one_complete_line_per_variable(self, oneflower, context):
        long = "/" + "long/" * 100 + "path"
        code, out, err = oneflower("config", "show", "--context", context({"FL_CHECKPOINT_PATH": long}))
        lines = out.splitlines()
        assert (code, len(lines)) == (0, len(TABLE) + 1)
        assert any(line.startswith("FL_CHECKPOINT_PATH") and f" {long} " in line for line in lines)
        assert not any(line.endswith(" ") for line in lines)
        assert "FL_CHECKPOINT_PATH has no effect" in err

    def test_a_row_shows_the_source_of_a_value(self, oneflower, context, monkeypatch):
        monkeypatch.setenv("FL_SEED", "7")
        path = context({"ONEAPP_FL_NUM_ROUNDS": "5", "FL_STRATEGY": "Krum"})
        _, out, _ = oneflower("config", "show", "--context", path)
        rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines()}
        assert rows["FL_SEED"].split() == ["7", "environment", "42"]
        assert "context as ONEAPP_FL_NUM_ROUNDS" in rows["FL_NUM_ROUNDS"]
        assert rows["FL_MIN_FIT_CLIENTS"].startswith("3 ")
        assert "raised for the strategy" in rows["FL_MIN_FIT_CLIENTS"]
        assert rows["FL_RESUME"].split() == ["auto", "default", "auto"]

    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_a_secret_is_masked(self, oneflower, context, options):
        for key in (SECRET, SECRET_PEM):
            path = context(TLS | {"FL_SSL_KEYFILE": key})
            code, out, err = oneflower("config", "show", "--context", path, *options)
            assert code == 0
            assert SECRET not in out + err
            assert "hunter" not in out + err
            assert "********" in out

    def test_a_key_beside_a_certificate_is_not_shown(self, oneflower, context):
        """What was given is in the JSON; a bundle may hold the key, too."""
        certificate = base64.b64decode(TLS["FL_SSL_CERTFILE"]).decode()
        key = base64.b64decode(TLS["FL_SSL_KEYFILE"]).decode()
        for bundle in (f"{certificate}{key}", base64.b64encode(f"{certificate}{key}".encode()).decode()):
            path = context(TLS | {"FL_SSL_CERTFILE": bundle})
            code, out, err = oneflower("config", "show", "--json", "--context", path)
            assert code == 0, err
            assert json.loads(out)["variables"]["FL_SSL_CERTFILE"]["given"] == "********"

    def test_json_is_one_object_with_typed_values(self, oneflower, context):
        path = context({"FL_NUM_ROUNDS": "5.0", "FL_STRATEGY": "Krum"} | TLS)
        code, out, err = oneflower("config", "show", "--json", "--context", path)
        document = json.loads(out)
        assert (code, err) == (0, "")
        assert set(document["variables"]) == {variable.name for variable in TABLE}
        assert document["variables"]["FL_NUM_ROUNDS"] == {
            "value": 5,
            "default": 3,
            "from": "context",
            "given": "5.0",
            "given_as": "FL_NUM_ROUNDS",
            "raised_to": None,
            "role": "SuperLink",
            "consumers": ["ServerApp", "supervisor"],
        }
        assert document["variables"]["FL_MIN_FIT_CLIENTS"]["raised_to"] == 3
        assert document["notices"][0]["level"] == "warning"

    def test_a_terminal_shows_every_value_in_full(self, context):
        """In 60 columns a value is folded, not cut."""
        path = context({"FL_CHECKPOINT_PATH": "/" + "x" * 200, "FL_CHECKPOINT_ENABLED": "YES"})
        leader, follower = pty.openpty()
        environment = {**os.environ, "COLUMNS": "60", "TERM": "dumb", "NO_COLOR": "1"}
        with subprocess.Popen(
            [sys.executable, "-m", "oneflower.cli.main", "config", "show", "--context", path],
            stdout=follower,
            env=environment,
        ) as process:
            os.close(follower)
            output = b""
            while True:
                try:
                    piece = os.read(leader, 4096)
                except OSError:  # Linux says EIO where the other side has closed
                    break
                if not piece:
                    break
                output += piece
        os.close(leader)
        assert process.returncode == 0
        assert output.count(b"x") >= 200
        assert "\u2026".encode() not in output


class TestRunConfig:
    def test_the_output_is_the_toml_for_flower(self, oneflower, context):
        path = context({"FL_STRATEGY": "FedProx", "FL_PROXIMAL_MU": "0", "FL_CHECKPOINT_PATH": '/a "b" $(c)'})
        code, out, err = oneflower("config", "run-config", "--context", path)
        config = tomllib.loads(out)
        assert code == 0
        assert (config["strategy"], config["proximal-mu"]) == ("FedProx", 0.0)
        assert config["checkpoint-path"] == '/a "b" $(c)'
        assert "trim-beta" not in config
        assert "FedAvg" in err

    def test_bad_settings_print_no_toml(self, oneflower, context):
        code, out, _ = oneflower("config", "run-config", "--context", context(MISTAKES))
        assert (code, out) == (2, "")


class TestDocs:
    def test_the_page_is_printed(self, oneflower):
        assert oneflower("config", "docs") == (0, variables_page(), "")

    def test_the_page_is_written(self, oneflower, tmp_path):
        assert oneflower("config", "docs", "--output", tmp_path / "page.md") == (0, "", "")
        assert (tmp_path / "page.md").read_text(encoding="utf-8") == variables_page()

    def test_a_file_that_cannot_be_written_exits_7(self, oneflower, tmp_path):
        code, _, err = oneflower("config", "docs", "--output", tmp_path / "none" / "page.md")
        assert code == 7
        assert "No such file or directory" in err


def test_the_installed_command_reports_and_exits_2(context):
    """The installed program, its exit code, and an empty standard output."""
    program = Path(sys.executable).with_name("oneflower")
    done = subprocess.run(
        [program, "config", "check", "--context", context(MISTAKES)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: 9 problems in the settings; nothing was started.")
