"""Upstreams that stream badly: whatever they do, a reader gets one stream with the right text and end."""

import re
from collections.abc import Iterator

import httpx
import pytest
from azure.data.tables import TableClient

from local.azurite import Azurite
from tests.support.peer_processes import Event, error_of, eventually
from tests.support.service_process import (
    Json,
    Service,
    finished,
    followed,
    kinds,
    numbers,
    output_text,
    service,
    streamed,
    streaming,
    text_of,
)

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def account(azurite: Azurite) -> str:
    """Give the service of these tests its storage account."""
    return azurite.account()


@pytest.fixture(scope="module")
def service_of_all(account: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests here; by the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("faults"), account, STREAM_HEARTBEAT_S="0.5") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture
def running(service_of_all: Service) -> Service:
    """Give the service with a model that does nothing wrong yet, and has forgotten everything."""
    service_of_all.model.reset()
    return service_of_all


@pytest.fixture
def client(running: Service) -> httpx.Client:
    """Give a client of the service."""
    return running.client()


def check_stream(client: httpx.Client, events: list[Event], *, restarted: bool = False) -> Json:
    """Check a stream that came to its end; return the response as it is stored.

    A later reader reads the same, and its text is the result. A restart leaves a gap in the numbers; what it has made
    void is not told to who comes later.
    """
    stored: Json = client.get(f"/responses/{events[0]['response']['id']}").json()
    assert kinds(events)[-1] == stored["status"] == "completed"
    assert events[-1]["response"] == stored
    assert text_of(events) == output_text(stored)
    assert numbers(events) == (sorted(set(numbers(events))) if restarted else list(range(len(events))))
    anew = max(n for n, kind in enumerate(kinds(events)) if kind == "in_progress") if restarted else 1
    assert followed(client, stored["id"]) == [events[0], *events[anew:]]
    return stored


# Streams that break


@pytest.mark.parametrize("inside", [False, True], ids=["between frames", "inside a frame"])
def test_a_stream_that_is_cut_is_followed_from_there(running: Service, client: httpx.Client, inside: bool) -> None:
    """Twice in one response; nobody notices, and the work was begun once."""
    running.model.faults(stream_drop_after=5, stream_drops=2, stream_cut_inside=inside)
    check_stream(client, streamed(client))
    assert running.model.stats()["replays"] == 2
    assert running.model.stats()["started_twice"] == 0


def test_an_event_that_is_no_json_is_asked_for_again(running: Service, client: httpx.Client) -> None:
    """The next connection brings it whole."""
    running.model.faults(stream_malformed_at=8)
    check_stream(client, streamed(client))
    assert running.model.stats()["replays"] == 1


def test_an_event_that_is_never_json_ends_the_stream_only(running: Service, client: httpx.Client) -> None:
    """The work goes on and is polled; its output is told at the end, after word that what was told before is void."""
    running.model.faults(stream_malformed_at=8, stream_malformed_times=1000)
    check_stream(client, streamed(client, "sim-2s"), restarted=True)
    assert running.model.stats()["started_twice"] == 0


def test_a_stream_that_falls_silent_keeps_its_reader(running: Service, client: httpx.Client) -> None:
    """Heartbeats go on, and so does the right to cancel."""
    running.model.faults(stream_stall_after=5)
    with streaming(client, "sim-0.5s") as stream:
        events = [next(stream) for _ in range(5)]
        eventually(lambda: running.model.stats()["open_streams"] == 1)
        client.post(f"/responses/{events[0]['response']['id']}/cancel").raise_for_status()
        events += stream
    assert events[-1]["response"]["status"] == "cancelled"
    eventually(lambda: running.model.stats()["open_streams"] == 0)


def test_keepalives_are_not_told_though_they_take_numbers(running: Service, client: httpx.Client) -> None:
    """A stream is followed by the upstream's numbers, which are then not ours."""
    running.model.faults(keepalive_s=0.1, stream_drop_after=20)
    events = streamed(client, "sim-silent-1s")
    check_stream(client, events)
    assert not [event for event in events if "keepalive" in event["type"]]
    assert running.model.stats()["replays"] == 1


@pytest.mark.parametrize("model", ["sim-instant", "sim-1s"])
def test_an_upstream_may_not_stream_at_all(running: Service, client: httpx.Client, model: str) -> None:
    """It answers with a response object: its output is told as events when it is there."""
    running.model.faults(ignore_stream=True)
    check_stream(client, streamed(client, model), restarted=True)
    assert running.model.stats()["started_twice"] == 0


# Large and many


def test_a_stream_may_have_fifty_thousand_events(running: Service, client: httpx.Client) -> None:
    """Each is told once, in bounded memory."""
    before = running.hosts[0].memory()
    events = streamed(client, "sim-events-50000")
    grown = running.hosts[0].memory() - before
    check_stream(client, events)
    assert kinds(events).count("output_text.delta") == 50_000
    assert grown < 48 * MEBIBYTE


def test_an_event_may_have_two_megabytes(client: httpx.Client) -> None:
    """It is one event, too, for those who read it from the log."""
    events = streamed(client, "sim-blob-2mb")
    check_stream(client, events)
    assert max(len(event.get("delta", "")) for event in events) == 2 * MEBIBYTE


def test_an_event_that_is_too_large_to_keep_ends_the_response(client: httpx.Client) -> None:
    """It cannot be logged, so nobody could resume after it: the response fails, with a reason."""
    events = streamed(client, "sim-blob-8mb")
    assert kinds(events)[-1] == "failed"
    assert events[-1]["response"]["error"]["code"] == "output_too_large"
    assert numbers(events) == sorted(set(numbers(events)))


# The create call


def test_a_refusal_is_passed_on_and_nothing_is_kept(running: Service, client: httpx.Client, account: str) -> None:
    """The upstream judges the request before anything was told: the same status and words, and no row is left."""
    before = named(account)
    running.model.faults(refuse_creates={"status": 400, "message": "Not this."})
    request = {"model": "sim-1s", "input": "One.", "background": True, "stream": True}
    answer = client.post("/responses", json=request)
    assert error_of(answer)[0] == 400
    assert answer.json()["error"]["message"] == "Not this."
    assert named(account) <= before  # rows of other responses may come and go


def named(account: str) -> set[str]:
    """Return the ids of all responses that a row names."""
    with TableClient.from_connection_string(account, "responses") as table:
        keys = [row["RowKey"] for row in table.list_entities(select=["RowKey"])]
    return {found for key in keys for found in re.findall("resp_[0-9a-f]{32}", key)}


def test_an_upstream_that_is_down_is_waited_for(running: Service, client: httpx.Client) -> None:
    """The response is accepted and says so; the rest comes when the upstream is back."""
    running.model.faults(outage="drop")
    with streaming(client) as stream:
        events = [next(stream)]
        assert client.get(f"/responses/{events[0]['response']['id']}").json()["status"] == "queued"
        running.model.faults(outage=False)
        events += stream
    check_stream(client, events)


def test_an_upstream_that_asks_for_patience_gets_it(running: Service, client: httpx.Client) -> None:
    """429 twice with a time to wait: then the stream begins."""
    running.model.faults(rate_limit={"n": 2, "retry_after": 1})
    check_stream(client, streamed(client))
    assert running.model.stats()["creates"] == 3


def test_an_answer_that_is_lost_begins_nothing_twice(running: Service, client: httpx.Client) -> None:
    """The create is repeated with the same key."""
    running.model.faults(lose_answers=1)
    check_stream(client, streamed(client))
    assert running.model.stats()["started_twice"] == 0


def test_a_replay_that_comes_too_late_is_polled_for(running: Service, client: httpx.Client) -> None:
    """The stream was cut, and the upstream replays no more: the output is told at the end."""
    running.model.faults(stream_drop_after=8, replay_window_s=0)
    response = check_stream(client, streamed(client, "sim-2s"), restarted=True)
    assert finished(client, response)["output"] == response["output"]
