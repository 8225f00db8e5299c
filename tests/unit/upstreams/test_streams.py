"""The stream of an upstream as events: how it may be framed, how it may begin and end, and what breaks it."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import orjson
import pytest

from shared.contract.upstream_errors import MAX_DEPTH
from shared.core.errors import UpstreamBroken, UpstreamError, UpstreamFailed, UpstreamInvalid, UpstreamOversized
from shared.upstreams.answers import MAX_ANSWER
from shared.upstreams.protocol import UpstreamEvent
from shared.upstreams.streams import MAX_NUMBER, events_in, is_stream_by_content, is_stream_by_type, parse_event

CREATED = {"type": "response.created", "response": {"id": "up_1", "status": "in_progress"}}
DELTA = {"type": "response.output_text.delta", "delta": "a"}
DONE = {"type": "response.completed", "response": {"id": "up_1", "status": "completed"}}
SSE = "text/event-stream"


def frame(data: dict[str, Any], name: str | None = None) -> bytes:
    """Return an event as most servers frame it."""
    return b"event: %b\ndata: %b\n\n" % ((name or data["type"]).encode(), orjson.dumps(data))


STORY = frame(CREATED) + frame(DELTA) + frame(DONE)


class Body(httpx.AsyncByteStream):
    """A body in chunks. It then stays open if `is_open` is true."""

    def __init__(self, chunks: Iterable[bytes], *, is_open: bool = False) -> None:
        self._chunks, self._is_open = chunks, is_open

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._is_open:
            await asyncio.Event().wait()


def read(*chunks: bytes, content_type: str | None = SSE) -> list[UpstreamEvent]:
    """Return the events of an answer whose body arrives in these chunks."""
    headers = {} if content_type is None else {"content-type": content_type}

    async def collect() -> list[UpstreamEvent]:
        return [event async for event in events_in(httpx.Response(200, headers=headers, stream=Body(chunks)))]

    return asyncio.run(collect())


def told(*chunks: bytes, content_type: str | None = SSE) -> list[dict[str, Any]]:
    """Return the events of an answer without their numbers."""
    return [event.data for event in read(*chunks, content_type=content_type)]


# Frames


@pytest.mark.parametrize(
    "between",
    [b"data:\n\n", b"data: \n\n", b"data\n\n", b"event: ping\ndata:\n\n", b"data: ping\n\n", b"data: null\n\n",
     b"event: ping\ndata: null\n\n", b": comment\n\n", b"event: ping\n\n", b"id: 7\n\n", b"retry: 1\n\n", b"\n\n\n"],
)  # fmt: skip
def test_frames_without_an_event_are_skipped(between: bytes) -> None:
    """Blank data and words that only show that the connection lives are nothing, wherever they stand."""
    text = between + between.join([frame(CREATED), frame(DELTA), frame(DONE)]) + between
    assert told(text) == told(*(text[at : at + 1] for at in range(len(text)))) == [CREATED, DELTA, DONE]


def test_an_event_without_a_type_has_the_name_of_its_frame() -> None:
    """Some servers name an event only in its frame, or name frames that are all alike `message`."""
    assert told(b'event: response.output_text.delta\ndata: {"delta":"a"}\n\n') == [DELTA]
    assert told(b'event: ping\ndata: {}\n\nevent: message\ndata: {"x":1}\n\n') == [{"type": "ping"}, {"x": 1}]
    assert told(frame(DELTA, "message")) == [DELTA]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"code":"policy","message":"No."}', {"type": "error", "code": "policy", "message": "No."}),
        (b'{"error":{"message":"No."}}', {"type": "error", "error": {"message": "No."}}),
        (b"Internal Server Error", {"type": "error", "message": "Internal Server Error"}),
        (b'"No."', {"type": "error", "message": "No."}),
        (b"", {"type": "error", "message": ""}),
    ],
)
def test_a_frame_named_error_is_an_error(data: bytes, expected: dict[str, Any]) -> None:
    """Whatever its data are."""
    assert told(b"event: error\ndata: " + data + b"\n\n") == [expected]


@pytest.mark.parametrize("rest", [b"", b"\n", b"\r\n", b"\r"])
def test_the_last_event_needs_no_blank_line(rest: bytes) -> None:
    """Some servers close the connection right after it."""
    assert told(STORY.rstrip(b"\n") + rest) == [CREATED, DELTA, DONE]


@pytest.mark.parametrize("cut", range(len(frame(DONE)) - 40, len(frame(DONE)) - 4, 7))
def test_an_event_that_was_cut_off_is_none(cut: int) -> None:
    """A connection without chunks can end anywhere. What has arrived of an event is not taken for one."""
    with pytest.raises(UpstreamBroken):
        told(frame(CREATED) + frame(DONE)[:cut])


def test_a_stream_may_say_that_it_is_done() -> None:
    """`[DONE]` ends a stream, even if its connection stays open."""
    body = Body([STORY, b"data: [DONE] \n\n", frame(DELTA)], is_open=True)

    async def collect() -> list[dict[str, Any]]:
        response = httpx.Response(200, headers={"content-type": SSE}, stream=body)
        return [event.data async for event in events_in(response)]

    assert asyncio.run(asyncio.wait_for(collect(), 5)) == [CREATED, DELTA, DONE]


def test_an_event_that_other_readers_take_is_taken() -> None:
    """Half of a surrogate pair, an infinite number and a control character do not break a stream."""
    text = b'data: {"type":"x.y","delta":"\\ud83d","logprob":-Infinity,"seed":18446744073709551616}\n\n'
    (found,) = told(text)
    assert (found["delta"], found["logprob"]) == ("\ufffd", None)
    assert orjson.dumps(found["seed"]) == b"18446744073709551616"


# What an answer is


@pytest.mark.parametrize("content_type", [SSE, "text/plain", "application/json", "application/octet-stream", "", None])
@pytest.mark.parametrize("first", [b"", b"\n", b": c\n\n", b"id: 1\n", b"retry: 5\n\n", b"\xef\xbb\xbf", b"data:\n\n"])
def test_a_stream_is_one_whatever_its_content_type(content_type: str | None, first: bytes) -> None:
    """The bytes decide, as soon as they show it, and in any chunks."""
    text = first + STORY
    pieces = [text[at : at + 1] for at in range(len(text))]
    assert told(text, content_type=content_type) == told(*pieces, content_type=content_type) == [CREATED, DELTA, DONE]


@pytest.mark.parametrize("content_type", [SSE, "application/json", "text/plain", None])
def test_a_whole_answer_is_one_whatever_its_content_type(content_type: str | None) -> None:
    """A response object in one piece is one event."""
    text = b" \n" + orjson.dumps(DONE["response"])
    for chunks in ([text], [text[at : at + 1] for at in range(len(text))]):
        (event,) = read(*chunks, content_type=content_type)
        assert (event.data, event.is_whole) == (DONE, True)


@pytest.mark.parametrize("content_type", [SSE, "application/json"])
def test_a_whole_answer_may_be_an_error(content_type: str) -> None:
    """Its words are kept."""
    with pytest.raises(UpstreamFailed) as failed:
        read(b'{"error":{"message":"Exhausted.","code":502}}', content_type=content_type)
    assert (failed.value.code, failed.value.message) == ("502", "Exhausted.")


@pytest.mark.parametrize("body", [b"", b"OK", b"<html>", b"error: x", b"[]", b"{}", b"data", b'{"a":'])
def test_an_answer_that_is_nothing_known_is_invalid(body: bytes) -> None:
    """Neither a stream nor a response object."""
    with pytest.raises(UpstreamInvalid):
        read(body, content_type="text/plain")


def test_the_content_type_decides_where_the_bytes_do_not() -> None:
    """A stream may begin with a field that nobody knows, and may be empty."""
    assert told(b"foo: bar\n" + STORY) == [CREATED, DELTA, DONE]
    assert told(b"") == told(b"\n\n") == []


async def test_the_first_event_does_not_wait_for_the_second() -> None:
    """A stream is recognized from its first bytes, and blank lines before it are not kept."""
    body = Body([b"\n" * 100_000] * 3 + [frame(CREATED)], is_open=True)
    events = events_in(httpx.Response(200, stream=body))
    assert (await asyncio.wait_for(anext(events), 5)).data == CREATED
    await events.aclose()


@pytest.mark.parametrize(
    ("begun", "expected"),
    [(b"{", False), (b"[", False), (b":", True), (b"data:", True), (b"event:x", True), (b"id:", True),
     (b"retry:", True), (b"", None), (b"dat", None), (b"<", None), (b"null", None), (b"data", None)],
)  # fmt: skip
def test_the_first_bytes_show_what_an_answer_is(begun: bytes, expected: bool | None) -> None:
    """A field or a comment begins a stream, an object or a list does not."""
    assert is_stream_by_content(begun) is expected


@pytest.mark.parametrize("body", [b"data: " + b"x" * (MAX_ANSWER + 1), b'{"a":"' + b"x" * MAX_ANSWER])
def test_an_answer_that_is_too_large_is_oversized(body: bytes) -> None:
    """An event and a whole answer have the same limit."""
    with pytest.raises(UpstreamOversized):
        read(body)


# Events


@pytest.mark.parametrize("number", [0, 1, 7, MAX_NUMBER - 1])
def test_an_event_has_its_number_in_the_upstreams_stream(number: int) -> None:
    """The number says where a stream can be resumed."""
    data = {"type": "response.created", "sequence_number": number}
    assert parse_event(orjson.dumps(data).decode()) == UpstreamEvent(number, data)


@pytest.mark.parametrize("number", [-1, MAX_NUMBER, 1.0, "1", None, True, [1], {}])
def test_an_event_whose_number_cannot_be_used_has_none(number: object) -> None:
    """Numbers have up to ten digits, because they are part of a row's key. Not every server numbers its events."""
    data = {"type": "keepalive", "sequence_number": number}
    assert parse_event(orjson.dumps(data).decode()) == UpstreamEvent(None, data)
    assert parse_event("{}").number is None
    assert MAX_NUMBER == 10**10


@pytest.mark.parametrize("text", ["", "not json", "[]", "null", "7", '"x"', '{"type":', "[DONE]", "{}{}", "\ud800"])
def test_a_stream_with_something_else_than_an_event_is_broken(text: str) -> None:
    """An event is a JSON object. The error does not repeat what was received."""
    with pytest.raises(UpstreamBroken, match=r"^an event is not a JSON object$"):
        parse_event(text)


def test_an_event_that_is_too_deep_is_oversized() -> None:
    """An event has the same limit as a whole answer."""

    def deep(levels: int) -> str:
        return '{"a":' * levels + "1" + "}" * levels

    assert parse_event(deep(MAX_DEPTH))
    with pytest.raises(UpstreamOversized):
        parse_event(deep(MAX_DEPTH + 1))


def test_only_errors_of_the_upstream_are_raised() -> None:
    """Whatever the bytes are, the caller has to know one family of errors."""
    for at in range(len(STORY)):
        text = STORY[:at] + b"\xff{\n\n" + STORY[at:]
        try:
            read(text)
        except UpstreamError:
            continue


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/event-stream", True),
        ("text/event-stream; charset=utf-8", True),
        ("Text/Event-Stream ;charset=utf-8", True),
        ("text/event-streams", False),
        ("text/plain", False),
        ("application/json; of=text/event-stream", False),
        ("", False),
        (None, False),
    ],
)
def test_a_stream_is_recognized_by_its_media_type(content_type: str | None, expected: bool) -> None:
    """Parameters and letter case do not matter."""
    headers = {} if content_type is None else {"content-type": content_type}
    assert is_stream_by_type(httpx.Response(200, headers=headers)) is expected
