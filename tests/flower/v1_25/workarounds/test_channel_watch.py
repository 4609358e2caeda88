"""The state of a program's channel, which Flower watches for its debug log."""

import subprocess
import sys
import threading

import pytest
from flwr.client.grpc_rere_client import connection
from flwr.common.grpc import on_channel_state_change

from oneflower.flower.v1_25.workarounds import channel_watch

WORKAROUNDS = [
    channel_watch.SUPERNODE,
    channel_watch.SUPEREXEC,
    channel_watch.SERVERAPP,
    channel_watch.CLIENTAPP,
]
LEAVING = """
from oneflower.flower.v1_25.workarounds import channel_watch
from flwr.client.grpc_rere_client import connection
channel_watch.SUPERNODE.apply(setattr)
channel = connection.create_channel(server_address="127.0.0.1:9", insecure=True)
channel.subscribe(connection.on_channel_state_change)
"""
"""A program whose channel is still there when the interpreter ends."""


def threads_of_a_subscriber():
    before = set(threading.enumerate())
    channel = connection.create_channel(server_address="127.0.0.1:9", insecure=True)
    channel.subscribe(on_channel_state_change)
    started = set(threading.enumerate()) - before
    channel.unsubscribe(on_channel_state_change)
    for each in started:
        each.join(timeout=60)
    channel.close()
    return started


def test_flower_starts_a_thread_for_it():
    assert threads_of_a_subscriber()


def test_nobody_watches_it(apply):
    apply(channel_watch.SUPERNODE)
    assert not threads_of_a_subscriber()


@pytest.mark.parametrize("workaround", WORKAROUNDS, ids=lambda each: next(iter(each.programs)))
def test_each_program_opens_such_channels(workaround, apply):
    (module,) = workaround.sources
    apply(workaround)
    channel = sys.modules[module].create_channel(server_address="127.0.0.1:9", insecure=True)
    try:
        assert channel.subscribe(on_channel_state_change) is None
        assert channel.subscribe is channel_watch._never_told
    finally:
        channel.close()


def test_a_program_with_an_open_channel_ends():
    done = subprocess.run([sys.executable, "-c", LEAVING], timeout=120, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
