"""Ports for servers that restart at the same address."""

import random
import socket

# Below the range that systems use for outgoing connections. Otherwise, while the server is down, its port may be
# taken, or a client that keeps trying may connect to itself.
RANGE = range(20_000, 30_000)
TRIES = 100


def free_port() -> int:
    """Return a loopback port that is free now. It stays free unless another process requests it by number."""
    return next(port for port in random.sample(RANGE, TRIES) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
