"""A hostile or careless upstream: ids that lead elsewhere, redirects, streams without end, and what it rejects."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from itertools import repeat
from typing import Any

import httpx
import orjson
import pytest

from shared.core.errors import UpstreamError, UpstreamInvalid, UpstreamOversized, UpstreamRefused
from shared.core.states import Status
from shared.json_text import OF_ANSWERS
from shared.upstreams import streams
from shared.upstreams.answers import parse_object
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.protocol import UpstreamEvent
from shared.upstreams.responses_api import BackgroundResponses
from shared.upstreams.streams import parse_event

Handler = Callable[[httpx.Request], httpx.Response]
BASE = "https://model.example.com/v1"
SOURCES = ("web_search_call.action.sources", "reasoning.encrypted_content")
EVENT = b'data: {"type": "response.output_text.delta", "sequence_number": 4, "delta": "x"}\n\n'
UNUSABLE = [
    ".",
    "..",
    "agent:clerk",
    "agent:",
    "",
    "x" * 1025,
    "a\nb",
    "a\0b",
    "a/b",
    "a\\b",
    7.5,
    True,
    None,
    ["up_1"],
]


async def with_key() -> dict[str, str]:
    """Return the authorization header of a key."""
    return {"Authorization": "Bearer sk-1"}


async def asked(call: Callable[[BackgroundResponses], Awaitable[Any]], handler: Handler) -> Any:
    """Make one call to an upstream that this handler simulates."""
    upstream = BackgroundResponses(Endpoint(httpx.MockTransport(handler), BASE, with_key))
    try:
        return await call(upstream)
    finally:
        await upstream.aclose()


async def resumed(upstream: BackgroundResponses, include: tuple[str, ...] = ()) -> list[UpstreamEvent]:
    """Return the events of a stream that is resumed."""
    async with aclosing(upstream.resume("up_1", 3, include)) as events:
        return [event async for event in events]


def answer_of(**members: Any) -> bytes:
    """Return a response object as JSON."""
    return orjson.dumps({"id": "up_1", "status": "queued", **members})


# Ids


@pytest.mark.parametrize("name", UNUSABLE)
async def test_unfinished_work_needs_an_id_that_can_be_asked_for(name: object) -> None:
    """A path does not keep a dot segment, and servers differ about an escaped slash. `agent:` leads to our own agents.

    The work ends with that reason.
    """
    body = json.dumps({"status": "queued", "id": name}).encode()
    with pytest.raises(UpstreamInvalid):
        await asked(lambda upstream: upstream.start({}, "resp_1"), lambda _: httpx.Response(200, content=body))


@pytest.mark.parametrize("name", UNUSABLE)
async def test_a_finished_answer_needs_no_id(name: object) -> None:
    """No answer is lost because of a strange id."""
    body = answer_of(id=name, status="completed")
    found = await asked(lambda upstream: upstream.start({}, "k"), lambda _: httpx.Response(200, content=body))
    assert (found.status, found.token, found.upstream_id) == (Status.COMPLETED, None, None)


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_event_with_such_an_id_has_none(name: object) -> None:
    """The rest of the event is kept."""
    event = parse_event(orjson.dumps({"type": "response.created", "response": {"id": name, "model": "m"}}).decode())
    assert event.response_id is None
    assert event.data["response"] == {"id": None, "model": "m"}


@pytest.mark.parametrize("name", ["...", "a..b", "agents:1", "ä", "a b", "urn:x:1"])
async def test_any_other_id_is_used_as_it_is(name: str) -> None:
    """It is one segment of the path, whatever is in it."""
    seen: list[bytes] = []

    def record(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return httpx.Response(200, content=answer_of(id=name))

    found = await asked(lambda upstream: upstream.start({}, "resp_1"), record)
    assert found.token == name
    await asked(lambda upstream: upstream.poll(name), record)
    assert seen[1].count(b"/") == 3


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", ["start", "poll", "resume"])
async def test_a_redirect_is_not_followed(status: int, call: str) -> None:
    """The key goes nowhere else. The target is not even called."""
    seen: list[str] = []

    def record(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return httpx.Response(status, headers={"location": "https://evil.example.net/v1/responses"})

    calls = {
        "start": lambda upstream: upstream.start({}, "resp_1"),
        "poll": lambda upstream: upstream.poll("up_1"),
        "resume": resumed,
    }
    with pytest.raises(UpstreamError):
        await asked(calls[call], record)
    assert seen == ["model.example.com"]


# Bounds


def streaming(chunks: AsyncIterator[bytes]) -> Handler:
    """Return an upstream that answers with this stream."""
    return lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=chunks)


async def test_a_stream_without_end_is_given_up() -> None:
    """It ends as an answer that is too large, when 256 MiB have been read."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for chunk in repeat(b": " + b"x" * 1_048_573 + b"\n"):
            sent += len(chunk)
            yield chunk

    with pytest.raises(UpstreamOversized):
        await asked(resumed, streaming(endless()))
    assert sent <= streams.MAX_STREAM + 2 * 1_048_576


async def test_an_event_of_a_hundred_megabytes_is_given_up_early() -> None:
    """No more of it is read than the limit of an answer."""
    sent = 0

    async def large() -> AsyncIterator[bytes]:
        nonlocal sent
        yield EVENT + b"data: "
        for _ in range(100):
            sent += 1_000_000
            yield b"x" * 1_000_000

    with pytest.raises(UpstreamOversized):
        await asked(resumed, streaming(large()))
    assert sent < 40_000_000


@pytest.mark.parametrize(
    ("piece", "limit"), [(b"{}", OF_ANSWERS.containers), (b"[]", OF_ANSWERS.containers), (b"0", 10**6)]
)
def test_an_answer_of_a_million_values_is_given_up_before_it_is_decoded(piece: bytes, limit: int) -> None:
    """Each would take thirty times its place in the text. The error names the limit."""
    assert parse_object(b'{"output": [' + b",".join([piece] * 1_000) + b"]}")
    text = b'{"output": [' + b",".join([piece] * (limit + 2)) + b"]}"
    for content in (text, text.decode()):
        with pytest.raises(UpstreamOversized, match=str(limit)) as caught:
            parse_object(content)
        assert str(limit) in caught.value.message


# Include


def refusing_include(seen: list[tuple[str, list[str]]], *, always: bool = False) -> Handler:
    """Return an upstream that rejects `include`, and notes what each request asks for."""

    def answer(request: httpx.Request) -> httpx.Response:
        included = request.url.params.get_list("include[]")
        seen.append((request.url.params.get("starting_after", ""), included))
        if included or always:
            return httpx.Response(400, json={"error": {"message": "Unknown parameter: 'include'."}})
        if "stream" in request.url.params:
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=EVENT)
        return httpx.Response(200, content=answer_of())

    return answer


async def test_a_rejected_include_is_left_out_and_remembered() -> None:
    """A poll is sent once more without it, and later polls at once. Another list is tried."""
    seen: list[tuple[str, list[str]]] = []

    async def polls(upstream: BackgroundResponses) -> None:
        for include in (SOURCES, SOURCES, SOURCES[:1]):
            assert (await upstream.poll("up_1", include)).token == "up_1"

    await asked(polls, refusing_include(seen))
    assert [included for _, included in seen] == [[*SOURCES], [], [], [SOURCES[0]], []]


async def test_a_stream_is_resumed_without_what_is_rejected() -> None:
    """From the same event."""
    seen: list[tuple[str, list[str]]] = []
    events = await asked(lambda upstream: resumed(upstream, SOURCES), refusing_include(seen))
    assert [event.number for event in events] == [4]
    assert seen == [("3", [*SOURCES]), ("3", [])]


@pytest.mark.parametrize("call", [lambda upstream: upstream.poll("up_1", SOURCES), lambda up: resumed(up, SOURCES)])
async def test_a_refusal_of_both_is_a_refusal(call: Callable[[BackgroundResponses], Awaitable[Any]]) -> None:
    """It was not about the include, which is asked for again next time."""
    seen: list[tuple[str, list[str]]] = []
    with pytest.raises(UpstreamRefused):
        await asked(call, refusing_include(seen, always=True))
    assert len(seen) == 2
