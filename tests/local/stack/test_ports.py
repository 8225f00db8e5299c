"""Ports for servers that restart: free, below the outgoing range, and never those of another share."""

import socket

import pytest

from local.stack import ports


def test_a_free_port_is_usable_and_below_the_outgoing_range() -> None:
    """A server can listen on it."""
    port = ports.free_port()
    assert port in ports.RANGE
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_port_is_returned_once() -> None:
    """A server that is down, or not yet up, keeps its port."""
    returned = [ports.free_port() for _ in range(200)]
    assert len(set(returned)) == 200


def test_shares_have_no_port_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of four processes selects its own, and together they have the whole range."""
    found: list[set[int]] = []
    for index in range(4):
        monkeypatch.setenv(ports.SHARE, f"{index}/4")
        found.append({ports.free_port() for _ in range(50)})
    assert len(set[int]().union(*found)) == 200
    assert {port % 4 for port in found[1]} == {(ports.RANGE.start + 1) % 4}
