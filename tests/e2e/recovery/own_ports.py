"""Free ports for servers that a test starts again on the same port: no other worker takes them.

They lie below the range from which the kernel gives ports to connections, each worker has a block of its own,
and none is given out twice until the block is used up.
"""

import itertools
import os
import socket
from contextlib import closing

FIRST, LAST, BLOCKS = 12_000, 32_000, 10
_SIZE = (LAST - FIRST) // BLOCKS
_block = FIRST + _SIZE * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % BLOCKS)
# Another run on this machine begins elsewhere in the same blocks.
_numbers = itertools.count(os.getpid() * 37)


def free_ports(count):
    """Return different free loopback ports."""
    ports = (_block + number % _SIZE for number in _numbers)
    return list(itertools.islice(filter(_is_free, ports), count))


def _is_free(port):
    with closing(socket.socket()) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
