"""What an HTTP answer of an upstream means: progress, an event, a success, or the error of its status."""

import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.errors import (
    UpstreamBroken,
    UpstreamInvalid,
    UpstreamOversized,
)
from shared.core.states import Status
from shared.upstreams.answers import (
    MAX_ANSWER,
    MAX_DEPTH,
    MAX_NUMBER,
    Success,
    is_event_stream,
    parse_event,
    parse_object,
    progress_in,
    read_bounded,
    whole_event,
)
from shared.upstreams.protocol import MAX_ID, Progress, UpstreamEvent

CREATED = {"id": "up_1", "object": "response", "status": "queued"}
REFUSED = {400, 404, 405, 413, 415, 422}
MIB = 1_048_576


def success(body: object, retry_after_s: float | None = None) -> Success:
    """Return a 2xx answer with this body, which is JSON unless it is bytes."""
    return Success(body if isinstance(body, bytes) else orjson.dumps(body), retry_after_s)


def deep(levels: int) -> bytes:
    """Return a response object whose output is nested this deeply, itself included."""
    inner = b"[" * (levels - 1) + b"]" * (levels - 1)
    return b'{"id":"up_1","status":"completed","output":' + inner + b"}"


# Progress


@pytest.mark.parametrize("status", Status)
def test_a_response_object_is_progress(status: Status) -> None:
    """The id is the token for the next poll. At the end there is no token, and the id is still known."""
    body = {**CREATED, "status": status, "output": [], "unknown": 1}
    token = None if status.is_terminal else "up_1"
    assert progress_in(success(body, 7.0)) == Progress(status, token, body, "up_1", 7.0)


def test_nulls_while_queued_are_accepted() -> None:
    """Azure leaves `created_at` and `output` null while the work is queued."""
    body = {**CREATED, "created_at": None, "output": None, "error": None, "usage": None}
    assert progress_in(success(body)) == Progress(Status.QUEUED, "up_1", body, "up_1")


@pytest.mark.parametrize("upstream_id", ["x", "x" * MAX_ID, "ä/../b"])
def test_an_id_is_any_text_of_up_to_512_characters(upstream_id: str) -> None:
    """The upstream chooses the form of its ids."""
    assert progress_in(success({**CREATED, "id": upstream_id})).token == upstream_id


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"<html>",
        b"[]",
        b"null",
        b'{"id":"up_1","status":"queued"',
        b'{"id":"up_1","status":"queued","output":"\xff"}',
        {},
        {"id": "up_1"},
        {"status": "queued"},
        {**CREATED, "status": "cancelling"},
        {**CREATED, "status": "QUEUED"},
        {**CREATED, "status": None},
        {**CREATED, "status": ["queued"]},
        {**CREATED, "status": {}},
        {**CREATED, "id": 7},
        {**CREATED, "id": None},
        {**CREATED, "id": ""},
        {**CREATED, "id": "x" * (MAX_ID + 1)},
    ],
    ids=range(19),
)
def test_an_answer_that_is_not_a_response_object_is_invalid(body: object) -> None:
    """A proxy's page, a truncated answer and an unknown status or id are invalid. The create must not be repeated."""
    with pytest.raises(UpstreamInvalid):
        progress_in(success(body))


def test_an_answer_that_is_too_deep_to_be_encoded_is_oversized() -> None:
    """The JSON parser accepts more levels than the encoder. The limit is below both."""
    assert orjson.dumps(progress_in(success(deep(MAX_DEPTH))).answer)
    for levels in (MAX_DEPTH + 1, 500, 1_000):
        with pytest.raises(UpstreamOversized):
            progress_in(success(deep(levels)))
    assert MAX_DEPTH == 200


def test_the_body_of_an_answer_is_not_shown() -> None:
    """An answer may be logged without its text."""
    assert "geheim" not in repr(success(b"geheim"))


# Events


@pytest.mark.parametrize("number", [0, 1, 7, MAX_NUMBER - 1])
def test_an_event_has_its_number_in_the_upstreams_stream(number: int) -> None:
    """The number says where a stream can be resumed."""
    data = {"type": "response.created", "sequence_number": number}
    assert parse_event(orjson.dumps(data).decode()) == UpstreamEvent(number, data)


@pytest.mark.parametrize("number", [-1, MAX_NUMBER, 1.0, "1", None, [1], {}])
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
    assert parse_event(deep(MAX_DEPTH).decode())
    with pytest.raises(UpstreamOversized):
        parse_event(deep(MAX_DEPTH + 1).decode())


@pytest.mark.parametrize("status", Status)
def test_an_answer_without_a_stream_is_one_event(status: Status) -> None:
    """A server that does not stream answers with JSON. Its type is that of the event for such a status."""
    answer = {**CREATED, "status": status}
    event = whole_event(answer)
    assert event == UpstreamEvent(None, {"type": f"response.{status}", "response": answer}, is_whole=True)
    assert event.response_id == "up_1"


objects = st.dictionaries(
    st.text("abé", max_size=3), st.recursive(st.none() | st.integers(0, 9), lambda inner: st.lists(inner, max_size=3))
)


@given(objects)
def test_an_object_is_read_as_it_was_written(value: dict[str, Any]) -> None:
    """Nothing is added to an object, and nothing is lost, from bytes and from text."""
    text = orjson.dumps(value)
    assert parse_object(text) == parse_object(text.decode()) == value


# Bodies


class Chunks(httpx.AsyncByteStream):
    """A body in chunks, which counts those that were read."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            self.read += 1
            yield chunk


@pytest.mark.parametrize("chunks", [[], [b""], [b"whole"], [b"in ", b"", b"parts"]])
async def test_a_body_is_joined(chunks: list[bytes]) -> None:
    """A body may arrive in any number of chunks."""
    assert await read_bounded(httpx.Response(200, stream=Chunks(*chunks))) == b"".join(chunks)


async def test_a_body_may_be_as_large_as_the_limit() -> None:
    """A body of exactly 32 MiB is read."""
    response = httpx.Response(200, stream=Chunks(*[bytes(MIB)] * 32))
    assert len(await read_bounded(response)) == MAX_ANSWER == 32 * MIB


async def test_a_body_over_the_limit_is_not_read_to_its_end() -> None:
    """Reading stops after the chunk that exceeds the limit, even by one byte, so memory is bounded."""
    body = Chunks(*[bytes(MIB)] * 32, b"x", *[bytes(MIB)] * 8)
    with pytest.raises(UpstreamOversized):
        await read_bounded(httpx.Response(200, stream=body))
    assert body.read == 33


async def test_the_limit_is_for_the_decompressed_body() -> None:
    """A small compressed body may hold a very large one."""
    packed = gzip.compress(bytes(MAX_ANSWER + 1), 1)
    assert len(packed) < MIB
    response = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Chunks(packed))
    with pytest.raises(UpstreamOversized):
        await read_bounded(response)


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
    """Parameters and letter case do not matter. An answer without a content type is no stream."""
    headers = {} if content_type is None else {"content-type": content_type}
    assert is_event_stream(httpx.Response(200, headers=headers)) is expected
