"""The argument lists and the environment of Flower's processes, without the context's secrets."""

from pathlib import Path

import pytest

from oneflower.local_cluster import commands
from oneflower.local_cluster.commands import Addresses
from oneflower.local_cluster.tls import Certificates
from oneflower.settings import resolve

ADDRESSES = Addresses(
    fleet="127.0.0.1:1", control="127.0.0.1:2", serverappio="127.0.0.1:3", clientappio=("127.0.0.1:4",)
)
TLS = Certificates(ca=Path("/t/ca"), certificate=Path("/t/crt"), key=Path("/t/key"))


def settings(**given):
    return resolve({}, given).settings


def supernode(tls=None, **given):
    return commands.supernode(0, 3, ADDRESSES, settings(**given), tls=tls)


def superlink(tls=None):
    return commands.superlink(ADDRESSES, settings(), database=Path("/s/db"), storage=Path("/s/f"), tls=tls)


def value(command, flag):
    return command[command.index(flag) + 1]


def test_nothing_listens_beyond_loopback():
    told = [part for part in [*superlink(), *supernode()] if ":" in part]
    assert told
    assert all(part.startswith("127.0.0.1:") for part in told)


def test_without_tls_both_sides_are_insecure():
    assert "--insecure" in superlink()
    assert "--insecure" in supernode()


def test_with_tls_no_side_is_insecure():
    command = superlink(TLS)
    assert "--insecure" not in [*command, *supernode(TLS)]
    assert value(command, "--ssl-certfile") == "/t/crt"
    assert value(command, "--ssl-keyfile") == "/t/key"
    assert value(supernode(TLS), "--root-certificates") == "/t/ca"


def test_unlimited_retries_leave_the_flags_out():
    """Flower 1.25.0 takes 0 as: give up after the first failure."""
    assert not {"--max-retries", "--max-wait-time"} & set(supernode())
    command = supernode(FL_MAX_RETRIES="5", FL_MAX_WAIT_TIME="60")
    assert value(command, "--max-retries") == "5"
    assert value(command, "--max-wait-time") == "60"


def test_a_node_gets_its_partition_of_the_data():
    assert value(supernode(), "--node-config") == "partition-id=0 num-partitions=3 client-name='supernode-0'"


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("", "partition-id=1 num-partitions=4 client-name='supernode-1'"),
        (
            "device='cuda 0' n=5",
            "partition-id=1 num-partitions=4 client-name='supernode-1' device='cuda 0' n=5",
        ),
        (
            "partition-id=7 num-partitions=9 a=1",
            "partition-id=1 num-partitions=4 client-name='supernode-1' a=1",
        ),
    ],
)
def test_the_operators_pairs_are_added_and_cannot_replace_the_computed_ones(extra, expected):
    """One context serves all nodes here, so a partition that it names cannot be right for each of them."""
    assert commands.node_config(1, 4, extra) == expected


def environment(base=None, **given):
    return commands.environment(
        base or {}, settings(**given), nodes=3, token="secret-token", flwr_home=Path("/s/home")
    )


def test_the_context_does_not_reach_the_processes():
    told = environment({"FL_SSL_KEYFILE": "key", "ONEAPP_FL_SEED": "1", "LANG": "C"})
    assert "FL_SSL_KEYFILE" not in told
    assert "ONEAPP_FL_SEED" not in told
    assert told["LANG"] == "C"


def test_telemetry_is_off_and_the_switches_are_passed_on():
    told = environment({"FLWR_TELEMETRY_ENABLED": "1"}, FL_FLOWER_WORKAROUNDS="NO", FL_LOG_LEVEL="DEBUG")
    assert told["FLWR_TELEMETRY_ENABLED"] == "0"
    assert told["FL_FLOWER_WORKAROUNDS"] == "NO"
    assert told["FL_WARM_EXECUTOR"] == "YES"
    assert told["FLWR_LOG_LEVEL"] == "DEBUG"
    assert told["FLWR_HOME"] == "/s/home"


def test_loopback_never_goes_through_a_proxy():
    assert environment({"no_proxy": "corp.example"})["no_proxy"] == "corp.example,127.0.0.1,localhost,::1"
    assert environment()["NO_PROXY"] == "127.0.0.1,localhost,::1"


def test_threads_are_shared_unless_the_operator_sets_them():
    assert commands.threads(3, 2) == 1
    assert commands.threads(3, 64) == 21
    assert environment({"OMP_NUM_THREADS": "8"})["OMP_NUM_THREADS"] == "8"
    assert environment()["MKL_NUM_THREADS"] >= "1"
