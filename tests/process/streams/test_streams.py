"""Streams with resume, over HTTP. Every reader gets the same events, from any point and after any number of cuts."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import cycle, islice

import httpx
import pytest

from local.azurite import Azurite
from shared.core.ids import read_token
from tests.support.peer_processes import Event, error_of, eventually
from tests.support.receiver_peer import CALL_S
from tests.support.service_process import (
    Service,
    create,
    followed,
    following,
    kinds,
    numbers,
    output_text,
    service,
    streamed,
    streaming,
    text_of,
)

Resume = Callable[[httpx.Client, Event], AbstractContextManager[Iterator[Event]]]

SLOW_BUFFER = 65_536
MEBIBYTE = 1 << 20
CUTS = 100  # more than the stream has events


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests of this module, with a heartbeat every 0.1 s."""
    directory = tmp_path_factory.mktemp("streams")
    with service(directory, azurite.account(), callers=("first", "second"), STREAM_HEARTBEAT_S="0.1") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def client(running: Service) -> httpx.Client:
    """Return a client of the service."""
    return running.client()


@pytest.fixture(scope="module")
def ended(client: httpx.Client) -> list[Event]:
    """Return all events of a stream that has ended."""
    return streamed(client, "sim-instant")


def id_of(events: list[Event]) -> str:
    """Return the id of the response whose stream begins with these events."""
    response_id: str = events[0]["response"]["id"]
    return response_id


# One reader


@pytest.mark.parametrize("background", [True, False])
def test_a_stream_holds_the_whole_response(client: httpx.Client, background: bool) -> None:
    """The stream goes from created to completed without a gap.

    Its text is the stored output, and its last event holds the stored response.
    """
    events = streamed(client, background=background)
    assert kinds(events)[0] == "created"
    assert kinds(events)[-1] == "completed"
    assert numbers(events) == list(range(len(events)))
    assert all(event["continuation_token"] for event in events[:-1])
    stored = client.get(f"/responses/{id_of(events)}").json()
    assert stored["background"] is background
    assert events[-1]["response"] == stored
    assert text_of(events) == output_text(stored)


def test_a_failure_ends_the_stream(client: httpx.Client) -> None:
    """A failure is emitted as an `error`, then as `response.failed`, which has the last number."""
    events = streamed(client, "sim-fail-0.5s")
    assert kinds(events)[-2:] == ["error", "failed"]
    assert numbers(events) == list(range(len(events)))
    assert events[-1]["response"]["error"]["code"] == events[-2]["code"] == "server_error"


def test_events_arrive_as_the_upstream_sends_them(client: httpx.Client) -> None:
    """The first text arrives while the model still writes the last."""
    with streaming(client, "sim-3s") as events:
        began = time.monotonic()
        assert next(event for event in events if event["type"] == "response.output_text.delta")
        assert time.monotonic() - began < 1.5


RESUMES: tuple[Resume, ...] = (
    lambda client, last: following(client, _named(last), last["sequence_number"]),
    lambda client, last: following(client, _named(last), last_event_id=last["continuation_token"]),
    lambda client, last: following(client, last["continuation_token"]),
    lambda client, last: following(client, _named(last), last["continuation_token"]),
)
"""The ways to resume after an event."""


def _named(last: Event) -> str:
    cursor = read_token(last["continuation_token"])
    assert cursor
    return cursor.id


def test_a_reader_that_is_cut_off_after_every_event_reads_the_same(client: httpx.Client) -> None:
    """The reader resumes in each of the possible ways in turn.

    It misses nothing, gets nothing twice, and sees no contradiction.
    """
    with streaming(client) as stream:
        events = [next(stream)]
    for resume in islice(cycle(RESUMES), CUTS):
        if events[-1]["continuation_token"] is None:
            break
        with resume(client, events[-1]) as stream:
            events.append(next(stream))
    assert events == followed(client, id_of(events))
    assert kinds(events) == kinds(streamed(client))


@pytest.mark.parametrize("resume", RESUMES, ids=["number", "header", "token", "token as number"])
def test_every_way_to_resume_gives_the_remaining_events(
    client: httpx.Client, ended: list[Event], resume: Resume
) -> None:
    """A resume gives exactly the events after the named one, also when the response has ended."""
    with resume(client, ended[3]) as rest:
        assert list(rest) == ended[4:]


def test_the_number_takes_precedence_over_the_token(client: httpx.Client, ended: list[Event]) -> None:
    """A client may repeat an old token in place of the id and add the number where it is now."""
    assert followed(client, ended[1]["continuation_token"], after=5) == ended[6:]


def test_after_the_last_event_there_is_nothing(client: httpx.Client, ended: list[Event]) -> None:
    """A cursor at or beyond the end of a finished response gives an empty stream."""
    for after in (len(ended) - 1, len(ended), 10**9, 10**15):
        assert followed(client, id_of(ended), after) == []


def test_a_stream_is_kept_for_longer_than_its_upstream_keeps_it(running: Service, client: httpx.Client) -> None:
    """A finished stream can be read without calling the upstream."""
    events = streamed(client, "sim-0.5s")
    running.model.faults(outage="drop")
    try:
        assert followed(client, id_of(events)) == events
    finally:
        running.model.faults(outage=False)


# Cursors and access


@pytest.mark.parametrize("cursor", ["abc", "-1", "1.5", "1e3", "resp_" + "0" * 32, "9" * 21])
def test_a_bad_cursor_is_named(client: httpx.Client, ended: list[Event], cursor: str) -> None:
    """A cursor that is neither a number nor a token of an event is a 400 that names its parameter or header."""
    path = f"/responses/{id_of(ended)}?stream=true"
    by_query = client.get(path, params={"stream": "true", "starting_after": cursor})
    assert error_of(by_query) == (400, "starting_after", "invalid_value")
    by_header = client.get(path, headers={"Last-Event-ID": cursor})
    assert error_of(by_header) == (400, "Last-Event-ID", "invalid_value")


def test_a_token_of_another_response_is_refused(client: httpx.Client, ended: list[Event]) -> None:
    """Such a token would name events of another stream."""
    token = streamed(client, "sim-instant")[2]["continuation_token"]
    answer = client.get(f"/responses/{id_of(ended)}?stream=true&starting_after={token}")
    assert error_of(answer) == (400, "starting_after", "invalid_value")


def test_only_a_response_created_as_a_stream_can_be_streamed(client: httpx.Client) -> None:
    """Any other response is a 400 with OpenAI's message."""
    answer = client.get(f"/responses/{create(client, 'sim-instant')['id']}?stream=true")
    assert error_of(answer)[:2] == (400, "stream")
    expected = "This response cannot be streamed because it was not created with stream=true."
    assert answer.json()["error"]["message"] == expected


def test_a_caller_cannot_read_the_stream_of_another(running: Service, ended: list[Event]) -> None:
    """For another caller the response does not exist, by its id or by a token."""
    stranger = running.client("second")
    for named in (id_of(ended), ended[2]["continuation_token"]):
        assert error_of(stranger.get(f"/responses/{named}?stream=true"))[0] == 404


# Many readers


def test_a_reader_may_connect_before_the_first_text(client: httpx.Client) -> None:
    """The reader waits, even with a cursor beyond the last event, and gets the events after it."""
    with streaming(client, "sim-silent-2s") as stream, ThreadPoolExecutor(2) as pool:
        first = [next(stream)]
        readers = [pool.submit(followed, client, id_of(first), after) for after in (None, 8)]
        events = first + list(stream)
        assert [reader.result() for reader in readers] == [events, events[9:]]


def small_buffer(running: Service) -> httpx.Client:
    """Return a client with a small receive buffer, so that little is sent to it while it does not read."""
    transport = httpx.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)])
    known = running.client()
    return httpx.Client(base_url=known.base_url, headers=known.headers, timeout=CALL_S, transport=transport)


def test_a_slow_reader_does_not_hold_up_the_others(running: Service, client: httpx.Client) -> None:
    """The client that created the stream stops reading after one event.

    Other readers continue, in bounded memory. The slow reader later gets every event. The stream is about 20 MiB, so
    two slow readers whose events were kept would take 40 MiB. Threads that read large batches keep 10 MiB for more.
    """
    before = running.hosts[0].memory()
    with small_buffer(running) as slow, streaming(slow, "sim-events-60000") as resting:
        first = next(resting)
        with small_buffer(running) as other, following(other, id_of([first])) as resting_too:
            assert next(resting_too) == first
            with ThreadPoolExecutor(3) as pool:
                read = [pool.submit(followed, client, id_of([first])) for _ in range(3)]
                events, *others = [reader.result() for reader in read]
            assert text_of(events) == " ".join(map(str, range(60_000)))
            assert others == [events, events]
            assert running.hosts[0].memory() - before < 32 * MEBIBYTE
        assert [first, *resting] == events


def test_two_equal_requests_at_once_read_one_stream(running: Service, client: httpx.Client) -> None:
    """Two requests with one key and one body start the work once, and both get all of its events."""
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(streamed, client, "sim-1s", key="twice") for _ in range(2)]
        one, other = (reader.result() for reader in both)
    assert one == other
    assert running.model.stats()["started"][id_of(one)] == 1


# Streams that end early


def test_a_foreground_stream_survives_its_client(client: httpx.Client) -> None:
    """The client leaves, although the request was not for background work.

    The work continues, and a later reader misses nothing.
    """
    with streaming(client, "sim-2s", background=False) as stream:
        events = [next(stream) for _ in range(5)]
    events += followed(client, events[-1]["continuation_token"])
    assert numbers(events) == list(range(len(events)))
    assert text_of(events) == output_text(events[-1]["response"])


def test_a_stream_is_cancelled_while_it_flows(running: Service, client: httpx.Client) -> None:
    """The end comes at once as the last event, with the highest number, and the upstream stops.

    Events of the last second may reach only the live reader. No other reader gets an event that the live one did not
    get.
    """
    stopped = running.model.stats()["cancelled"]
    with streaming(client, "sim-clock-60s") as stream:
        events = [next(stream) for _ in range(5)]
        cancelled = client.post(f"/responses/{id_of(events)}/cancel").json()
        events += stream
    assert cancelled["status"] == "cancelled"
    assert kinds(events)[-1] == "failed"
    assert events[-1]["response"] == cancelled
    assert numbers(events) == sorted(set(numbers(events)))
    assert followed(client, id_of(events), after=numbers(events)[-2]) == events[-1:]
    assert all(event in events for event in followed(client, id_of(events)))
    eventually(lambda: bool(running.model.stats()["cancelled"] == stopped + 1))


def test_a_running_response_cannot_be_deleted(client: httpx.Client) -> None:
    """A running response must be cancelled first. After the deletion its stream is a 404."""
    with streaming(client, "sim-clock-60s") as stream:
        response_id = id_of([next(stream)])
        assert error_of(client.delete(f"/responses/{response_id}"))[0] == 400
        client.post(f"/responses/{response_id}/cancel").raise_for_status()
        assert kinds(stream)[-1] == "failed"
    assert client.delete(f"/responses/{response_id}").json()["deleted"] is True
    assert error_of(client.get(f"/responses/{response_id}?stream=true"))[0] == 404
