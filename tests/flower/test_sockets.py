"""Where the sockets of a cluster are, and who may have made their folder."""

import os
import socket
import stat

import pytest

from oneflower.errors import ClusterError, SettingsError, StateError
from oneflower.flower.launch import check_control
from oneflower.flower.programs import value_of
from oneflower.flower.sockets import (
    LONGEST_PATH,
    SOCKETS,
    control_of,
    folder_of,
    is_taken,
    port_of,
    prepare,
    socket_of,
    socket_problem,
    with_socket,
)
from oneflower.settings import Settings


def test_a_folder_that_is_named_is_taken_before_flowers_own(tmp_path):
    assert folder_of({SOCKETS: "/s", "FLWR_HOME": "/f"}) == folder_of({SOCKETS: "/s"})
    assert str(folder_of({"FLWR_HOME": "/f"})) == "/f/sockets"
    assert str(folder_of({"XDG_DATA_HOME": "/x"})) == "/x/.flwr/sockets"
    assert str(folder_of({"HOME": "/h"})) == "/h/.flwr/sockets"


def test_a_socket_has_the_name_of_the_port_and_is_found_by_it(tmp_path):
    address = socket_of(tmp_path, "127.0.0.1:9091")
    assert address == f"unix:{tmp_path}/9091.sock"
    assert socket_of(tmp_path / "other", address) == address
    assert port_of(address) == port_of("127.0.0.1:9091") == port_of("[::1]:9091") == "9091"


@pytest.mark.parametrize("listening", ["127.0.0.1:9093", "0.0.0.0:9093", "[::]:9093", "localhost:9093"])
def test_processes_of_the_machine_command_through_the_socket(listening):
    assert control_of(listening, {SOCKETS: "/s"}, private=True) == "unix:/s/9093.sock"


def test_without_the_workarounds_there_is_no_socket():
    assert control_of("0.0.0.0:9093", {SOCKETS: "/s"}, private=False) == "127.0.0.1:9093"
    assert control_of("127.0.0.1:9093", {SOCKETS: "/s"}, private=False) == "127.0.0.1:9093"


def test_an_address_of_one_interface_is_called_as_it_is():
    """It may be another machine's."""
    assert control_of("10.0.0.5:9093", {SOCKETS: "/s"}, private=True) == "10.0.0.5:9093"


def test_a_program_calls_the_socket_of_the_address_that_it_was_given(tmp_path):
    for program, flag in (("superexec", "--appio-api-address"), ("serverapp", "--serverappio-api-address")):
        told = with_socket(program, ["--insecure", flag, "127.0.0.1:7"], tmp_path)
        assert value_of(flag, told) == f"unix:{tmp_path}/7.sock"
    assert with_socket("superlink", ["--insecure"], tmp_path) == ["--insecure"]


def test_the_folder_is_for_its_user_alone_also_where_it_was_open_before(tmp_path):
    folder = tmp_path / "s"
    for mode in (None, 0o755, 0o777):
        if mode:
            folder.chmod(mode)
        prepare(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_another_user_may_have_made_is_refused(tmp_path, monkeypatch):
    """Whoever owns the folder can put a socket of their own in the place of the SuperLink's."""
    prepare(tmp_path / "s")
    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(ClusterError, match=SOCKETS):
            prepare(tmp_path / "s")
    (tmp_path / "link").symlink_to(tmp_path / "s")
    with pytest.raises(ClusterError, match="not a folder of user"):
        prepare(tmp_path / "link")
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=SOCKETS):
        prepare(tmp_path / "file")


def test_a_path_that_is_too_long_for_a_socket_is_refused_at_the_start(tmp_path):
    folder = tmp_path / ("x" * LONGEST_PATH)
    assert "too long" in socket_problem(folder)
    with pytest.raises(ClusterError, match="too long"):
        prepare(folder)


def test_a_socket_that_a_killed_process_has_left_is_free(tmp_path):
    """Flower's own check of a port binds it; gRPC replaces the file of a socket without asking."""
    address = socket_of(tmp_path, "127.0.0.1:7")
    assert not is_taken(address)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.removeprefix("unix:"))
        listener.listen()
        assert is_taken(address)
    assert not is_taken(address)


def test_a_refused_control_api_names_its_socket_and_how_to_make_a_token(tmp_path, monkeypatch):
    """The advice to connect through SSH did not say to what."""
    monkeypatch.setenv(SOCKETS, str(tmp_path))
    arguments = ["--ssl-keyfile", "key.pem", "--control-api-address", "0.0.0.0:19093"]
    with pytest.raises(SettingsError) as caught:
        check_control(arguments, Settings())
    assert f"{tmp_path}/19093.sock" in str(caught.value)
    assert 'export FL_CONTROL_TOKEN="$(openssl rand -hex 16)"' in str(caught.value)
