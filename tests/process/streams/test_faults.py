"""Whatever goes wrong with an upstream's stream, a reader gets one stream with the right text and end."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from azure.data.tables import TableClient

from local.azurite import Azurite
from tests.support.peer_processes import Event, Json, error_of, eventually
from tests.support.service_process import (
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
    """Return the connection string of the service's storage account."""
    return azurite.account()


@pytest.fixture(scope="module")
def service_of_all(account: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests of this module. It must have logged nothing unexpected at the end."""
    with service(tmp_path_factory.mktemp("faults"), account, STREAM_HEARTBEAT_S="0.5") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture
def running(service_of_all: Service) -> Service:
    """Return the service, with its model reset and without faults."""
    service_of_all.model.reset()
    return service_of_all


@pytest.fixture
def client(running: Service) -> httpx.Client:
    """Return a client of the service."""
    return running.client()


def check_stream(client: httpx.Client, events: list[Event], *, restarted: bool = False) -> Json:
    """Check a stream that has ended, and return the stored response.

    The text is the stored output, and a later reader gets the same events. A restart leaves a gap in the numbers, and
    later readers do not get the events before it that it made void.
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
def test_a_stream_that_is_cut_is_resumed(running: Service, client: httpx.Client, inside: bool) -> None:
    """The reader does not notice two cuts in one response, and the work is started once."""
    running.model.faults(stream_drop_after=5, stream_drops=2, stream_cut_inside=inside)
    check_stream(client, streamed(client))
    assert running.model.stats()["replays"] == 2
    assert running.model.stats()["started_twice"] == 0


def test_an_event_that_is_not_json_is_requested_again(running: Service, client: httpx.Client) -> None:
    """The next connection brings the event whole."""
    running.model.faults(stream_malformed_at=8)
    check_stream(client, streamed(client))
    assert running.model.stats()["replays"] == 1


def test_an_event_that_is_never_json_does_not_end_the_work(running: Service, client: httpx.Client) -> None:
    """The work continues and is polled.

    At its end the output is emitted as events, after a second `response.in_progress` that makes the earlier events
    void.
    """
    running.model.faults(stream_malformed_at=8, stream_malformed_times=1000)
    check_stream(client, streamed(client, "sim-2s"), restarted=True)
    assert running.model.stats()["started_twice"] == 0


def test_a_stream_that_falls_silent_keeps_its_reader(running: Service, client: httpx.Client) -> None:
    """Heartbeats continue, and the response can still be cancelled."""
    running.model.faults(stream_stall_after=5)
    with streaming(client, "sim-0.5s") as stream:
        events = [next(stream) for _ in range(5)]
        eventually(lambda: running.model.stats()["open_streams"] == 1)
        client.post(f"/responses/{events[0]['response']['id']}/cancel").raise_for_status()
        events += stream
    assert events[-1]["response"]["status"] == "cancelled"
    eventually(lambda: running.model.stats()["open_streams"] == 0)


def test_keepalives_are_not_emitted_although_they_take_numbers(running: Service, client: httpx.Client) -> None:
    """The upstream's stream is resumed by its own numbers, which then differ from ours."""
    running.model.faults(keepalive_s=0.1, stream_drop_after=20)
    events = streamed(client, "sim-silent-1s")
    check_stream(client, events)
    assert not [event for event in events if "keepalive" in event["type"]]
    assert running.model.stats()["replays"] == 1


@pytest.mark.parametrize("model", ["sim-instant", "sim-1s"])
def test_an_upstream_may_not_stream_at_all(running: Service, client: httpx.Client, model: str) -> None:
    """The upstream answers with a response object. Its output is emitted as events once it is there."""
    running.model.faults(ignore_stream=True)
    check_stream(client, streamed(client, model), restarted=True)
    assert running.model.stats()["started_twice"] == 0


# Large events, and many events


def test_a_stream_may_have_fifty_thousand_events(running: Service, client: httpx.Client) -> None:
    """Every event is emitted once, and memory grows by less than 48 MiB."""
    before = running.hosts[0].memory()
    events = streamed(client, "sim-events-50000")
    grown = running.hosts[0].memory() - before
    check_stream(client, events)
    assert kinds(events).count("output_text.delta") == 50_000
    assert grown < 48 * MEBIBYTE


def test_an_event_may_have_two_megabytes(client: httpx.Client) -> None:
    """A reader of the event log gets it as one event too."""
    events = streamed(client, "sim-blob-2mb")
    check_stream(client, events)
    assert max(len(event.get("delta", "")) for event in events) == 2 * MEBIBYTE


def test_an_event_that_is_too_large_to_keep_ends_the_response(client: httpx.Client) -> None:
    """The event cannot be logged, so no reader could resume after it.

    The response fails as `output_too_large`.
    """
    events = streamed(client, "sim-blob-8mb")
    assert kinds(events)[-1] == "failed"
    assert events[-1]["response"]["error"]["code"] == "output_too_large"
    assert numbers(events) == sorted(set(numbers(events)))


# The create call


def test_a_refusal_is_passed_on_and_nothing_is_kept(running: Service, client: httpx.Client, account: str) -> None:
    """The upstream refuses the request before any event is emitted.

    The caller gets the same status and message, and no row is left.
    """
    before = named(account)
    running.model.faults(refuse_creates={"status": 400, "message": "Not this."})
    request = {"model": "sim-1s", "input": "One.", "background": True, "stream": True}
    answer = client.post("/responses", json=request)
    assert error_of(answer)[0] == 400
    assert answer.json()["error"]["message"] == "Not this."
    assert named(account) <= before  # rows of other responses may come and go


def named(account: str) -> set[str]:
    """Return the ids of all responses that the rows of the table name."""
    with TableClient.from_connection_string(account, "responses") as table:
        keys = [row["RowKey"] for row in table.list_entities(select=["RowKey"])]
    return {found for key in keys for found in re.findall("resp_[0-9a-f]{32}", key)}


def test_an_upstream_that_is_down_is_waited_for(running: Service, client: httpx.Client) -> None:
    """The response is accepted as `queued`. The other events follow when the upstream is back."""
    running.model.faults(outage="drop")
    with streaming(client) as stream:
        events = [next(stream)]
        assert client.get(f"/responses/{events[0]['response']['id']}").json()["status"] == "queued"
        running.model.faults(outage=False)
        events += stream
    check_stream(client, events)


def test_an_upstream_that_limits_the_rate_is_waited_for(running: Service, client: httpx.Client) -> None:
    """The stream begins after two 429 answers with a `Retry-After`."""
    running.model.faults(rate_limit={"n": 2, "retry_after": 1})
    check_stream(client, streamed(client))
    assert running.model.stats()["creates"] == 3


def test_a_lost_answer_starts_nothing_twice(running: Service, client: httpx.Client) -> None:
    """The create is repeated with the same key."""
    running.model.faults(lose_answers=1)
    check_stream(client, streamed(client))
    assert running.model.stats()["started_twice"] == 0


def test_a_replay_that_is_too_late_is_replaced_by_polls(running: Service, client: httpx.Client) -> None:
    """The stream is cut, and the upstream no longer replays it.

    The output is emitted as events at the end.
    """
    running.model.faults(stream_drop_after=8, replay_window_s=0)
    response = check_stream(client, streamed(client, "sim-2s"), restarted=True)
    assert finished(client, response)["output"] == response["output"]


def test_one_connection_lasts_for_the_configured_time(connection_string: str, tmp_path: Path) -> None:
    """After `STREAM_MAX_S` a connection breaks. The client resumes and gets the rest."""
    with service(tmp_path, connection_string, STREAM_MAX_S="2") as running:
        client, began = running.client(), time.monotonic()
        events = list[Event]()
        with pytest.raises(httpx.RemoteProtocolError), streaming(client, "sim-3s") as stream:
            events.extend(stream)
        assert 1.9 < time.monotonic() - began < 2.9
        assert events[-1]["continuation_token"]
        events += followed(client, events[-1]["continuation_token"])
        assert numbers(events) == list(range(len(events)))
        assert text_of(events) == output_text(events[-1]["response"])
        assert running.unexpected() == []
