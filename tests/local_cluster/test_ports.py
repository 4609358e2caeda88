"""Free ports are distinct and free; a port in use is reported with how to fix it."""

import socket

import pytest

from oneflower.errors import ClusterError
from oneflower.local_cluster.ports import LOOPBACK, check_free, free_ports


def test_free_ports_are_different_and_can_be_used():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        check_free(port, "FL_FLEET_API_ADDRESS")


def test_a_port_in_use_is_named_with_its_variable_and_how_to_fix_it():
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError) as caught:
            check_free(port, "FL_FLEET_API_ADDRESS")
    for part in (str(port), "FL_FLEET_API_ADDRESS", "already in use", "set another port"):
        assert part in str(caught.value)
