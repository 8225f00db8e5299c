"""Ports for servers that come back at the same address."""

import random
import socket

# Below the range from which systems take ports for outgoing connections. Otherwise, while the server is away,
# its port may be taken, or a client that keeps trying may be connected to itself.
RANGE = range(20_000, 30_000)
TRIES = 100


def free_port() -> int:
    """Return a loopback port that is free now and stays free while nobody asks for it by number."""
    return next(port for port in random.sample(RANGE, TRIES) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
