"""Ports for servers that restart at the same address."""

import os
import random
import socket

# Below the range that systems use for outgoing connections. Otherwise, while the server is down, its port may be
# taken, or a client that keeps trying may connect to itself.
RANGE = range(20_000, 30_000)
TRIES = 100
SHARE = "PORTS_SHARE"
"""The environment variable of processes that select ports at the same time: `1/4` is the second share of four."""

_given = set[int]()


def free_port() -> int:
    """Return a loopback port that is free now, and that this process has not returned before.

    It stays free unless another process requests it by number. Processes with different shares select different ports.
    """
    candidates = random.sample(_own_range(), TRIES)
    port = next(port for port in candidates if port not in _given and _is_free(port))
    _given.add(port)
    return port


def _own_range() -> range:
    index, count = (int(part) for part in os.environ.get(SHARE, "0/1").split("/"))
    return RANGE[index::count]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
