"""Streams with resume, over HTTP: whoever reads, from wherever, as often as he is cut off, reads the same events."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import cycle, islice
from pathlib import Path

import httpx
import pytest

from local.azurite import Azurite
from shared.core.ids import read_token
from tests.support.peer_processes import Event, error_of, eventually
from tests.support.service_process import (
    CALL_S,
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
    """Run one service for all tests here, with many heartbeats; by the end it has logged nothing unexpected."""
    directory = tmp_path_factory.mktemp("streams")
    with service(directory, azurite.account(), callers=("first", "second"), STREAM_HEARTBEAT_S="0.1") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def client(running: Service) -> httpx.Client:
    """Give a client of the service."""
    return running.client()


@pytest.fixture(scope="module")
def ended(client: httpx.Client) -> list[Event]:
    """Give all events of a stream that has ended."""
    return streamed(client, "sim-instant")


def id_of(events: list[Event]) -> str:
    """Return the id of the response whose stream begins so."""
    response_id: str = events[0]["response"]["id"]
    return response_id


# One reader


@pytest.mark.parametrize("background", [True, False])
def test_a_stream_tells_the_whole_response(client: httpx.Client, background: bool) -> None:
    """From created to completed without a gap; its text is the stored result, its end is the stored response."""
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
    """It is told as an error, then as the failed response, whose number is the last."""
    events = streamed(client, "sim-fail-0.5s")
    assert kinds(events)[-2:] == ["error", "failed"]
    assert numbers(events) == list(range(len(events)))
    assert events[-1]["response"]["error"]["code"] == events[-2]["code"] == "server_error"


def test_events_come_as_the_upstream_makes_them(client: httpx.Client) -> None:
    """The first words are there while the model still writes the last."""
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
"""The ways to go on after an event."""


def _named(last: Event) -> str:
    cursor = read_token(last["continuation_token"])
    assert cursor
    return cursor.id


def test_who_is_cut_off_after_every_event_reads_the_same(client: httpx.Client) -> None:
    """Whichever way he says where he was, he misses nothing, gets nothing twice, and is not contradicted."""
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
def test_every_way_to_resume_gives_what_is_left(client: httpx.Client, ended: list[Event], resume: Resume) -> None:
    """After the end as before: all that follows the event, and nothing else."""
    with resume(client, ended[3]) as rest:
        assert list(rest) == ended[4:]


def test_the_number_is_heeded_before_the_token(client: httpx.Client, ended: list[Event]) -> None:
    """A client that repeats an old token as the id, and adds where it is now, is understood."""
    assert followed(client, ended[1]["continuation_token"], after=5) == ended[6:]


def test_after_the_last_event_there_is_nothing(client: httpx.Client, ended: list[Event]) -> None:
    """A cursor at the end of a finished response or beyond it: an empty stream."""
    for after in (len(ended) - 1, len(ended), 10**9, 10**15):
        assert followed(client, id_of(ended), after) == []


def test_a_stream_is_kept_for_longer_than_its_upstream_keeps_it(running: Service, client: httpx.Client) -> None:
    """Nothing of a finished stream is asked of the upstream."""
    events = streamed(client, "sim-0.5s")
    running.model.faults(outage="drop")
    try:
        assert followed(client, id_of(events)) == events
    finally:
        running.model.faults(outage=False)


# Who may read what


@pytest.mark.parametrize("cursor", ["abc", "-1", "1.5", "1e3", "resp_" + "0" * 32, "9" * 21])
def test_a_bad_cursor_is_named(client: httpx.Client, ended: list[Event], cursor: str) -> None:
    """Neither a number nor a token of an event: 400, with the name of the parameter."""
    path = f"/responses/{id_of(ended)}?stream=true"
    by_query = client.get(path, params={"stream": "true", "starting_after": cursor})
    assert error_of(by_query) == (400, "starting_after", "invalid_value")
    by_header = client.get(path, headers={"Last-Event-ID": cursor})
    assert error_of(by_header) == (400, "Last-Event-ID", "invalid_value")


def test_a_token_of_another_response_is_refused(client: httpx.Client, ended: list[Event]) -> None:
    """It would name events of a stream that is not this one."""
    token = streamed(client, "sim-instant")[2]["continuation_token"]
    answer = client.get(f"/responses/{id_of(ended)}?stream=true&starting_after={token}")
    assert error_of(answer) == (400, "starting_after", "invalid_value")


def test_only_what_was_created_as_a_stream_can_be_streamed(client: httpx.Client) -> None:
    """Anything else is OpenAI's own 400."""
    answer = client.get(f"/responses/{create(client, 'sim-instant')['id']}?stream=true")
    assert error_of(answer)[:2] == (400, "stream")
    expected = "This response cannot be streamed because it was not created with stream=true."
    assert answer.json()["error"]["message"] == expected


def test_nobody_reads_the_stream_of_another(running: Service, ended: list[Event]) -> None:
    """It does not exist for him, by whatever name he has of it."""
    stranger = running.client("second")
    for named in (id_of(ended), ended[2]["continuation_token"]):
        assert error_of(stranger.get(f"/responses/{named}?stream=true"))[0] == 404


# Many readers


def test_a_reader_may_come_before_the_first_word(client: httpx.Client) -> None:
    """He waits, with a cursor beyond what there is, too, and gets what comes after it."""
    with streaming(client, "sim-silent-2s") as stream, ThreadPoolExecutor(2) as pool:
        first = [next(stream)]
        readers = [pool.submit(followed, client, id_of(first), after) for after in (None, 8)]
        events = first + list(stream)
        assert [reader.result() for reader in readers] == [events, events[9:]]


def small_buffer(running: Service) -> httpx.Client:
    """Return a client that takes hardly anything before it is read from."""
    transport = httpx.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)])
    known = running.client()
    return httpx.Client(base_url=known.base_url, headers=known.headers, timeout=CALL_S, transport=transport)


def test_a_slow_reader_costs_nobody_anything(running: Service, client: httpx.Client) -> None:
    """The one whose request began it rests after an event: others read on, in bounded memory; he misses nothing."""
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
            assert running.hosts[0].memory() - before < 20 * MEBIBYTE
        assert [first, *resting] == events


def test_two_equal_requests_at_once_read_one_stream(running: Service, client: httpx.Client) -> None:
    """With the same key and body the work is begun once, and both get all of its events."""
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(streamed, client, "sim-1s", key="twice") for _ in range(2)]
        one, other = (reader.result() for reader in both)
    assert one == other
    assert running.model.stats()["started"][id_of(one)] == 1


# Ends before the end


def test_a_foreground_stream_survives_its_client(client: httpx.Client) -> None:
    """Nobody listens for a while, and nothing is lost, though the request was not for background work."""
    with streaming(client, "sim-2s", background=False) as stream:
        events = [next(stream) for _ in range(5)]
    events += followed(client, events[-1]["continuation_token"])
    assert numbers(events) == list(range(len(events)))
    assert text_of(events) == output_text(events[-1]["response"])


def test_a_stream_is_cancelled_while_it_flows(running: Service, client: httpx.Client) -> None:
    """Its end comes at once, as the last event with the highest number, and the upstream stops.

    What the last second brought may be known to the live reader only; nobody reads anything else.
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


def test_what_still_runs_cannot_be_deleted(client: httpx.Client) -> None:
    """It has to be cancelled first; the deleted stream is gone then."""
    with streaming(client, "sim-clock-60s") as stream:
        response_id = id_of([next(stream)])
        assert error_of(client.delete(f"/responses/{response_id}"))[0] == 400
        client.post(f"/responses/{response_id}/cancel").raise_for_status()
        assert kinds(stream)[-1] == "failed"
    assert client.delete(f"/responses/{response_id}").json()["deleted"] is True
    assert error_of(client.get(f"/responses/{response_id}?stream=true"))[0] == 404


def test_one_answer_lasts_as_long_as_it_may(connection_string: str, tmp_path: Path) -> None:
    """After the configured time it ends without a terminal event; the client resumes and has everything."""
    with service(tmp_path, connection_string, STREAM_MAX_S="2") as running:
        client, began = running.client(), time.monotonic()
        events = streamed(client, "sim-3s")
        assert 1.9 < time.monotonic() - began < 2.9
        assert events[-1]["continuation_token"]
        events += followed(client, events[-1]["continuation_token"])
        assert numbers(events) == list(range(len(events)))
        assert text_of(events) == output_text(events[-1]["response"])
        assert running.unexpected() == []
