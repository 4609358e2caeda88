"""The launcher: which program, which arguments, which switches; Flower's entry points are not entered."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from oneflower.errors import ClusterError, SettingsError
from oneflower.flower import launch, resources
from oneflower.flower.programs import TOKEN_VARIABLE
from oneflower.flower.sockets import SOCKETS
from oneflower.flower.v1_25.entry_points import EntryPoint


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Start programs whose entry point only notes how it was called."""
    calls = SimpleNamespace(
        argv=None, workarounds=[], speedups=None, executor=[], known_keys=None, files=0, pinned=[]
    )
    monkeypatch.setattr(sys, "argv", ["before"])

    def entry_point():
        calls.argv = sys.argv

    def apply(program, settings, *, known_keys):
        calls.workarounds.append(program)
        calls.known_keys = known_keys
        calls.speedups = settings.flower_speedups

    monkeypatch.setattr(EntryPoint, "load", lambda self: entry_point)
    monkeypatch.setattr(launch, "_apply_workarounds", apply)
    monkeypatch.setattr(launch, "_look_after", lambda *_: None)
    monkeypatch.setattr(launch, "_admit_members", lambda *_: None)
    monkeypatch.setattr(resources, "allow_open_files", lambda: vars(calls).update(files=calls.files + 1))
    monkeypatch.setattr(launch, "stay_on_one", lambda _: calls.pinned.append(True))
    monkeypatch.setattr("oneflower.flower.v1_25.warm.start.keep_running", calls.executor.append)

    monkeypatch.setattr(os, "environ", dict(os.environ))

    def start(program, *arguments, **environ):
        launch.start(program, arguments, {SOCKETS: str(tmp_path / "s"), **environ})
        return calls

    return start


def test_a_program_sees_its_own_name_and_arguments(started):
    assert started("superexec", "--insecure").argv == ["flower-superexec", "--insecure"]


def test_a_superlink_knows_whether_keys_are_known_and_has_files_for_connections(started):
    assert not started("superlink", "--insecure").known_keys
    assert started("superlink", launch.NODE_AUTH).known_keys
    assert started("supernode", "--insecure").files == 2


@pytest.mark.parametrize(
    ("program", "environ", "pinned"),
    [
        ("superlink", {}, [True]),
        ("superlink", {"FL_FLOWER_SPEEDUPS": "NO"}, []),
        ("superlink", {"FL_FLOWER_WORKAROUNDS": "NO"}, []),
        ("supernode", {}, []),
    ],
)
def test_a_superlink_alone_stays_on_one_processor(started, program, environ, pinned):
    assert started(program, "--insecure", **environ).pinned == pinned


@pytest.mark.parametrize(("files", "told"), [(1024, True), (20_000, False)])
def test_a_superlink_that_may_have_few_files_open_says_how_to_raise_that(
    started, monkeypatch, caplog, files, told
):
    monkeypatch.setattr(resources, "most_open_files", lambda: files)
    started("superlink", "--insecure")
    said = "open files limit=1024 wanted=65536: half of them may be connections of SuperNodes" in caplog.text
    assert said is told


def test_apis_for_this_machine_only_listen_on_loopback(started):
    """Flower's default is every interface, without TLS."""
    argv = started("superlink", "--insecure").argv
    assert launch.value_of("--serverappio-api-address", argv) == "127.0.0.1:9091"
    argv = started("supernode", "--insecure").argv
    assert launch.value_of("--clientappio-api-address", argv) == "127.0.0.1:9094"


@pytest.mark.parametrize("given", [["--clientappio-api-address", "h:1"], ["--clientappio-api-address=h:1"]])
def test_an_address_that_is_given_stays(started, given):
    argv = started("supernode", *given).argv
    assert launch.value_of("--clientappio-api-address", argv) == "h:1"


def test_the_executor_is_started_for_the_address_where_the_supernode_listens(started):
    calls = started("supernode", "--clientappio-api-address=127.0.0.1:7")
    assert calls.executor == ["127.0.0.1:7"]
    assert launch.value_of("--isolation", calls.argv) == "process"


def test_who_asks_for_an_executor_of_their_own_gets_none_of_ours(started):
    calls = started("supernode", "--isolation", "process")
    assert calls.executor == []
    assert calls.argv.count("process") == 1


def test_the_warm_executor_can_be_turned_off(started):
    calls = started("supernode", FL_WARM_EXECUTOR="NO")
    assert calls.executor == []
    assert launch.value_of("--isolation", calls.argv) is None
    assert calls.workarounds == ["supernode"]


@pytest.mark.parametrize("off", ["NO", "no", "false", "0"])
@pytest.mark.parametrize("name", ["FL_FLOWER_WORKAROUNDS", "ONEAPP_FL_FLOWER_WORKAROUNDS"])
def test_one_switch_turns_all_workarounds_off(started, name, off):
    assert started("superlink", **{name: off}).workarounds == []


@pytest.mark.parametrize("unset", [{}, {"FL_FLOWER_WORKAROUNDS": ""}, {"FL_FLOWER_WORKAROUNDS": "YES"}])
def test_they_are_on_by_default(started, unset):
    calls = started("superlink", **unset)
    assert calls.workarounds == ["superlink"]
    assert calls.speedups


def test_another_switch_turns_off_those_that_only_save_time(started):
    calls = started("superlink", FL_FLOWER_SPEEDUPS="NO")
    assert calls.workarounds == ["superlink"]
    assert not calls.speedups


def test_without_the_workarounds_there_are_no_speedups(started):
    """Held pulls deliver a message before its arrays are there, which Flower itself does not survive."""
    assert started("superlink", FL_FLOWER_WORKAROUNDS="NO", FL_FLOWER_SPEEDUPS="YES").workarounds == []


def test_a_switch_that_is_neither_is_refused(started):
    with pytest.raises(SettingsError, match="FL_FLOWER_WORKAROUNDS"):
        started("superlink", FL_FLOWER_WORKAROUNDS="PERHAPS")


def test_other_variables_are_none_of_the_launchers_business(started):
    """The ServerApp's environment may hold anything; `oneflower up` has checked it."""
    assert started("superlink", FL_NUM_ROUNDS="many").argv[0] == "flower-superlink"


@pytest.mark.parametrize("argv", [[], ["superduper"], ["--help"]])
def test_a_program_that_is_not_known_ends_with_the_code_of_wrong_settings(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        launch.main(argv)
    assert caught.value.code == SettingsError.exit_code
    err = capsys.readouterr().err
    assert "superlink|supernode" in err
    assert "warm-executor" in err


def test_a_flower_that_does_not_fit_ends_with_the_code_of_the_cluster(monkeypatch, capsys):
    def refuse(*_):
        raise ClusterError("written for another Flower")

    monkeypatch.setattr(launch, "start", refuse)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(SystemExit) as caught:
        launch.main(["superlink"])
    assert caught.value.code == ClusterError.exit_code
    assert "written for another Flower" in capsys.readouterr().err


def test_the_serverapps_of_a_superlink_know_where_its_database_is(started, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    started("superlink", "--insecure", "--database", "state.db")
    assert os.environ["ONEFLOWER_DATABASE"] == str(tmp_path / "state.db")
    del os.environ["ONEFLOWER_DATABASE"]
    started("superlink", "--insecure")
    assert "ONEFLOWER_DATABASE" not in os.environ


def test_telemetry_is_off_whatever_the_environment_says(monkeypatch):
    monkeypatch.setattr(os, "environ", {"FLWR_TELEMETRY_ENABLED": "1", "PATH": "/bin"})
    launch.prepare_environment("supernode")
    assert os.environ["FLWR_TELEMETRY_ENABLED"] == "0"


def test_flowers_programs_are_found_without_an_activated_environment(monkeypatch):
    monkeypatch.setattr(os, "environ", {"PATH": "/bin"})
    launch.prepare_environment("supernode")
    assert os.environ["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/bin"]


@pytest.mark.parametrize(
    ("program", "expected"), [("superlink", "false"), ("superexec", "false"), ("serverapp", None)]
)
def test_grpc_is_not_stopped_for_forks_except_where_an_app_forks(monkeypatch, program, expected):
    """Where fork fails, gRPC could not start its threads again; an app's data loaders do fork."""
    for given in (None, "false"):
        monkeypatch.setattr(os, "environ", {} if given is None else {"GRPC_ENABLE_FORK_SUPPORT": given})
        launch.prepare_environment(program)
        assert os.environ.get("GRPC_ENABLE_FORK_SUPPORT") == expected


def test_the_superexec_of_serverapps_starts_them_with_huge_pages(started, monkeypatch):
    for plugin, expected in (("serverapp", "glibc.malloc.hugetlb=1"), ("clientapp", None)):
        monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
        started("superexec", "--plugin-type", plugin)
        assert os.environ.get("GLIBC_TUNABLES") == expected


def test_a_program_reaches_its_machine_without_a_proxy(monkeypatch):
    monkeypatch.setattr(os, "environ", {"http_proxy": "http://proxy:1", "no_proxy": "a.org"})
    launch.prepare_environment("supernode")
    assert os.environ["no_proxy"] == "a.org,127.0.0.1,localhost,::1"
    assert os.environ["http_proxy"] == "http://proxy:1"


STUCK = """
import threading
from oneflower.flower.launch import run_to_the_end

class Channel:
    def __del__(self):
        threading.Event().wait()

def entry_point():
    channel = Channel()
    raise RuntimeError("Heartbeat sender is not running.")

run_to_the_end(entry_point)
"""


def test_a_program_that_raises_ends_although_its_channels_would_not():
    """As gRPC's do: the traceback keeps them until the interpreter ends, and there they wait."""
    done = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: Heartbeat sender is not running.\n")


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({}, {"zero-byte-traffic", "held-pulls"}),
        ({"FL_FLOWER_SPEEDUPS": "NO"}, {"zero-byte-traffic"}),
        ({"FL_FLOWER_WORKAROUNDS": "NO"}, set()),
    ],
)
def test_the_log_of_a_program_names_the_workarounds_that_are_applied(variables, names):
    """A real SuperLink's program, ended by --help when it reads its arguments."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", launch.LAUNCHER, "superlink", "--help"],
        env={**os.environ, "ONEFLOWER_GUARDED": "YES", **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    applied = re.findall(r"workarounds applied program=superlink names=(\S+)", done.stderr + done.stdout)
    assert {name for line in applied for name in line.split(",")} & {
        "zero-byte-traffic",
        "held-pulls",
    } == names


@pytest.mark.parametrize("flag", ["--control-api-address", "--exec-api-address"])
@pytest.mark.parametrize("address", ["0.0.0.0:9093", "[::]:9093", "10.0.0.5:9093"])
def test_commands_from_other_machines_need_tls_and_a_token(started, flag, address):
    """A run is code, which the SuperLink and every SuperNode execute."""
    token = {"FL_CONTROL_TOKEN": "7f3a9c51e08b6d24"}
    for arguments, environ in (
        ([], {}),
        (["--insecure"], token),
        ([], {**token, "FL_FLOWER_WORKAROUNDS": "NO"}),
    ):
        with pytest.raises(SettingsError, match="FL_CONTROL_TOKEN"):
            started("superlink", flag, address, *arguments, **environ)
    assert started("superlink", flag, address, **token).argv[0] == "flower-superlink"


def test_without_an_address_commands_come_from_this_machine(started):
    """Flower's default is every interface."""
    argv = started("superlink", "--insecure").argv
    assert launch.value_of("--control-api-address", argv) == "127.0.0.1:9093"
    argv = started("superlink", "--insecure", "--exec-api-address", "127.0.0.1:5").argv
    assert launch.value_of("--control-api-address", argv) is None, "Flower refuses both"


def test_an_app_gets_its_token_from_the_environment_and_hands_it_to_nobody(started, monkeypatch):
    monkeypatch.setitem(os.environ, TOKEN_VARIABLE, "secret")
    assert started("serverapp", "--insecure").argv[-2:] == ["--token", "secret"]
    assert TOKEN_VARIABLE not in os.environ


def test_an_executor_calls_the_socket_of_its_address(started, tmp_path):
    argv = started("superexec", "--appio-api-address", "127.0.0.1:9091").argv
    assert launch.value_of("--appio-api-address", argv) == f"unix:{tmp_path}/s/9091.sock"
    argv = started("superexec", "--appio-api-address", "h:1", FL_FLOWER_WORKAROUNDS="NO").argv
    assert launch.value_of("--appio-api-address", argv) == "h:1"


def test_what_a_program_writes_is_for_its_user_alone(monkeypatch):
    monkeypatch.setattr(os, "environ", {"PATH": "/bin"})
    before = os.umask(0o022)
    try:
        launch.prepare_environment("supernode")
        assert os.umask(0o022) == 0o077
    finally:
        os.umask(before)


def test_clientapps_see_no_gpu_unless_it_is_asked_for(started, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    started("superlink", "--insecure")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    started("supernode", "--insecure")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("workarounds", ["YES", "NO"])
def test_clientapps_see_the_gpus_that_are_asked_for(started, workarounds):
    started(
        "supernode",
        "--insecure",
        FL_GPU_ENABLED="YES",
        FL_CUDA_VISIBLE_DEVICES="1",
        FL_GPU_MEMORY_FRACTION="0.4",
        FL_FLOWER_WORKAROUNDS=workarounds,
    )
    seen = {name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES", "ONEFLOWER_GPU_FRACTION")}
    assert seen == {"CUDA_VISIBLE_DEVICES": "1", "ONEFLOWER_GPU_FRACTION": "0.4"}
