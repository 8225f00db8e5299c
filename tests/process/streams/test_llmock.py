"""An upstream of another make without background mode: llmock, with streams that break.

llmock runs in its own environment, because its dependencies would change how our servers run.
"""

from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from local.azurite import Azurite
from local.stack.ports import free_port
from local.stack.process import Process, wait_for
from tests.support.environments import need
from tests.support.service_process import create, finished, kinds, numbers, output_text, service, streamed, text_of


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Run llmock and return a client of it. If it is not installed, skip on a laptop and fail in CI."""
    program, port = need("llmock") / "bin" / "llmock", free_port()
    command = [str(program), "serve", "--host", "127.0.0.1", "--port", str(port), "--stream-chunk-delay-ms", "20"]
    process = Process("llmock", command, env={}, log=tmp_path_factory.mktemp("llmock") / "llmock.log")
    try:
        with closing(httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)) as client:
            assert wait_for(lambda: answers(client), 30), process.log()
            yield client
    finally:
        process.stop()


def answers(client: httpx.Client) -> bool:
    """Return whether llmock answers yet."""
    try:
        return client.get("/_llmock/scenario").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def over_llmock(
    azurite: Azurite, tmp_path_factory: pytest.TempPathFactory, llmock: httpx.Client
) -> Iterator[httpx.Client]:
    """Return a client of a service whose upstream is llmock."""
    directory, upstream = tmp_path_factory.mktemp("over_llmock"), str(llmock.base_url.join("/v1"))
    with service(directory, azurite.account(), UPSTREAM_MODE="foreground", UPSTREAM_BASE_URL=upstream) as running:
        yield running.client()
        assert running.unexpected() == []


@pytest.mark.parametrize(
    ("kind", "begins"), [(None, 1), ("stall", 1), ("disconnect", 2), ("truncate", 2), ("malformed", 2)]
)
def test_a_third_party_upstream_may_break_once(
    llmock: httpx.Client, over_llmock: httpx.Client, kind: str | None, begins: int
) -> None:
    """A stream that stalls is waited for, and one that breaks is restarted. Either way the response completes."""
    if kind:
        spoil(llmock, kind)
    events = streamed(over_llmock, "gpt-4o")
    assert kinds(events)[-1] == "completed"
    assert kinds(events).count("in_progress") == begins
    assert text_of(events) == output_text(events[-1]["response"])
    assert numbers(events) == sorted(set(numbers(events)))


def test_a_third_party_upstream_that_always_breaks_is_given_up(llmock: httpx.Client, over_llmock: httpx.Client) -> None:
    """The response fails as `upstream_lost` in whichever ways the streams break."""
    spoil(llmock, "disconnect", "truncate", "malformed", "truncate")
    response = finished(over_llmock, create(over_llmock, "gpt-4o"))
    assert (response["status"], response["error"]["code"]) == ("failed", "upstream_lost")


def spoil(llmock: httpx.Client, *faults: str) -> None:
    """Let llmock break its next streams, each with one of these faults."""
    behaviors = [{"type": "stream_fault", "kind": kind, "after_chunks": 5, "stall_seconds": 2} for kind in faults]
    llmock.post("/_llmock/scenario", json={"behaviors": behaviors}).raise_for_status()
