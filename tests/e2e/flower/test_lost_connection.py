"""A connection that is reset at the worst moment loses no message."""

import socket
import threading
from contextlib import suppress

import pytest

pytestmark = pytest.mark.e2e


class Proxy:
    """Passes TCP on to the SuperLink, until it cuts every connection after so many bytes of answers."""

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._sockets = []
        self.swallow = threading.Event()
        self.swallowed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:  # the SuperLink is gone: the SuperNode hears it as a closed connection
                client.close()
                continue
            with self._lock:
                self._sockets += [client, server]
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source, sink, answers):
        try:
            while data := source.recv(65536):
                if answers and self.swallow.is_set() and len(data) > 300:
                    self.swallow.clear()  # an answer that holds a message: it is lost with its connection
                    self.cut()
                    self.swallowed.set()
                    return
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                end.close()

    def cut(self):
        with self._lock:
            for end in self._sockets:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._sockets.clear()

    def close(self):
        self._listener.close()
        self.cut()


@pytest.fixture
def proxy(federation):
    made = Proxy(("127.0.0.1", federation.ports["fleet"]))
    yield made
    made.close()


def test_a_message_whose_delivery_is_cut_off_is_delivered_again(federation, proxy):
    federation.superlink()
    federation.supernode(0, through=proxy.address)
    federation.until(lambda: len(federation.control.nodes()) == 1)
    proxy.swallow.set()
    lines = federation.run(nodes=1, rounds=2, wait=60.0)
    assert proxy.swallowed.is_set()
    assert [line["lost"] for line in lines if "lost" in line] == [0, 0]
    assert [line["error"] for line in lines if "node" in line] == [None, None]
