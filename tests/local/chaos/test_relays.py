"""Relays: what goes through them arrives, and a reset is seen on both sides."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from local.chaos.world.relays import Relay, Relays, relays
from local.stack.ports import free_port

WAIT_S = 10.0


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Return a server that accepts connections."""
    with closing(socket.create_server(("127.0.0.1", free_port()))) as listener:
        listener.settimeout(WAIT_S)
        yield listener


@pytest.fixture
def wires() -> Iterator[Relays]:
    """Return relays that run."""
    with relays() as running:
        yield running


def connected(relay: Relay, server: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection through a relay."""
    client = socket.create_connection(("127.0.0.1", relay.port), timeout=WAIT_S)
    there, _ = server.accept()
    there.settimeout(WAIT_S)
    return client, there


def test_a_relay_passes_bytes_both_ways_and_a_clean_end(wires: Relays, server: socket.socket) -> None:
    """The end of the server's answer is the end for the client."""
    client, there = connected(wires.add("pair", server.getsockname()[1]), server)
    with client, there:
        client.sendall(b"question")
        assert there.recv(100) == b"question"
        there.sendall(b"answer")
        there.close()
        assert client.recv(100) == b"answer"
        assert client.recv(100) == b""


def test_a_cut_resets_the_connections_of_one_pair(wires: Relays, server: socket.socket) -> None:
    """Both ends get a reset, and not an end. What is told is the number of connections that there were.

    Connections of other pairs go on, and new ones work.
    """
    one, other = (wires.add(name, server.getsockname()[1]) for name in ("one", "other"))
    client, there = connected(one, server)
    spared, spared_there = connected(other, server)
    with client, there, spared, spared_there:
        client.sendall(b"question")
        assert there.recv(100) == b"question"
        assert wires.cut("one") == 1
        for end in (client, there):
            with pytest.raises(ConnectionResetError):
                end.recv(100)
        spared.sendall(b"still here")
        assert spared_there.recv(100) == b"still here"
    assert wires.cut("one") == 0
    for end in connected(one, server):
        end.close()


def test_a_server_that_is_down_is_a_reset(wires: Relays) -> None:
    """A client of a relay whose target does not listen is cut off, and waits for nothing."""
    relay = wires.add("pair", free_port())
    with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", relay.port), WAIT_S) as client:
        client.recv(100)
