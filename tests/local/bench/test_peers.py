"""The peers of the benchmark: how they are described, started, killed and started again. None is installed here."""

import sys

import httpx
import psutil
import pytest

from local.bench.meters.usage import cpu_s, tree
from local.bench.peers.catalogue import PEERS, Peer, requirement
from local.bench.peers.site import needed, site
from local.environments.catalogue import BENCH_PEERS, COMPARED, ENVIRONMENTS
from local.stack.ports import free_port
from local.stack.process import ROOT, PartError


def test_every_peer_has_an_environment_of_its_own() -> None:
    """Its requirements name its version. `make test` installs none of them."""
    assert tuple(peer.name for peer in PEERS) == COMPARED
    tools = (ROOT / "Makefile").read_text("utf-8")
    for peer in PEERS:
        assert ENVIRONMENTS[f"bench-{peer.name}"]().name == f"bench-{peer.name}"
        assert "==" in (BENCH_PEERS / "environments" / f"{peer.name}.txt").read_text("utf-8")
        assert peer.name in requirement(peer.name)
        assert f"bench-{peer.name}" not in tools


def test_a_peer_says_its_versions() -> None:
    """They are those of its package and of its store."""
    peer = Peer("dbos", lambda _site, _python, _env: "", lambda: "a store 1.2")
    assert peer.about == f"{requirement('dbos')} with a store 1.2"
    assert requirement("dbos").startswith("dbos 3.")


def test_a_command_that_is_missing_is_named_with_its_package() -> None:
    """The run shows this text in place of figures."""
    with pytest.raises(PartError, match=r"no-such-server: .* Debian has it in the package other"):
        needed("no-such-server", "other")
    assert needed("sh", "dash").endswith("/sh")


def test_programs_of_a_peer_are_killed_and_started_again_at_the_same_address() -> None:
    """The parts of our own keep running, and nothing runs at the end."""
    with site() as running:
        receiver_url = running.part("stack.receiver")
        command = [sys.executable, "-m", "local.stack.receiver", "--port", str(free_port())]
        url = running.app("app", command, {})
        before = running.app_pids()
        running.kill()
        assert not tree(before)
        with pytest.raises(PartError, match="app: ended"):
            running.check()
        running.restart()
        running.check()
        assert httpx.get(f"{url}/_received", trust_env=False).json() == []
        assert httpx.get(f"{receiver_url}/_received", trust_env=False).json() == []
        assert cpu_s(running.app_pids()) > 0
        assert running.store_cpu_s() == 0
        pids = [*running.app_pids(), *(one.pid for one in running.others.values())]
    assert not any(psutil.pid_exists(pid) for pid in pids)
