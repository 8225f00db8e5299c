"""What the body of an upstream's HTTP answer means: progress, a whole answer, or an error."""

import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.identifiers import MAX_ID
from shared.contract.upstream_errors import MAX_DEPTH
from shared.core.errors import (
    UpstreamFailed,
    UpstreamInvalid,
    UpstreamOversized,
)
from shared.core.states import Status
from shared.upstreams.answers import (
    MAX_ANSWER,
    Success,
    parse_object,
    progress_in,
    read_bounded,
    whole_event,
)
from shared.upstreams.protocol import Progress, UpstreamEvent

CREATED = {"id": "up_1", "object": "response", "status": "queued"}
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


@pytest.mark.parametrize("upstream_id", ["x", "x" * MAX_ID, "ä..b"])
def test_an_id_is_any_text_of_up_to_1024_characters(upstream_id: str) -> None:
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
        {},
        {"id": "up_1"},
        {"status": "queued"},
        {"id": "up_1", "status": "cancelling"},
        {"id": "up_1", "status": "QUEUED"},
        {"id": "up_1", "status": None},
        {"id": "up_1", "status": ["queued"]},
        {"id": "up_1", "status": {}},
        {**CREATED, "id": 7.5},
        {**CREATED, "id": None},
        {**CREATED, "id": ""},
        {**CREATED, "id": "x" * (MAX_ID + 1)},
    ],
    ids=range(18),
)
def test_an_answer_that_is_not_a_response_object_is_invalid(body: object) -> None:
    """A proxy's page, a truncated answer and an unknown status or id are invalid. The create must not be repeated."""
    with pytest.raises(UpstreamInvalid):
        progress_in(success(body))


def test_a_number_is_an_id_too() -> None:
    """It can be asked for. Callers of this module see it as a text."""
    found = progress_in(success({**CREATED, "id": 7}))
    assert (found.token, found.upstream_id, found.answer["id"]) == ("7", "7", "7")


@pytest.mark.parametrize("answer", [{}, {"id": None}, {"id": ".."}])
def test_an_answer_without_an_id_is_about_what_was_asked_for(answer: dict[str, object]) -> None:
    """Only a create needs an id in its answer."""
    found = progress_in(success({"object": "response", "status": "in_progress", **answer}), "up_1")
    assert (found.token, found.upstream_id) == ("up_1", "up_1")


@pytest.mark.parametrize("wrap", [lambda one: {"response": one}, lambda one: {"data": one}, lambda one: [one]])
def test_a_response_object_may_be_wrapped(wrap: Callable[[object], object]) -> None:
    """Some gateways have an envelope around it."""
    assert progress_in(success(wrap(CREATED))) == progress_in(success(CREATED))


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


# Errors in place of a response object


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": {"message": "Exhausted.", "code": 502}}, "502", "Exhausted."),
        ({"error": {"message": "Exhausted.", "type": "overloaded"}}, "overloaded", "Exhausted."),
        ({"error": "Exhausted.", "status": "error"}, "server_error", "Exhausted."),
        ({"object": "error", "message": "Exhausted.", "code": 429}, "429", "Exhausted."),
        ({"detail": "Exhausted."}, "server_error", "Exhausted."),
        ({"message": "Exhausted."}, "server_error", "Exhausted."),
        ([{"error": {"message": "Exhausted.", "code": 7}}], "7", "Exhausted."),
        ({"error": {"x": 1}}, "server_error", "The upstream gave no reason."),
    ],
    ids=range(8),
)
def test_a_success_may_report_an_error(body: object, code: str, message: str) -> None:
    """Some gateways answer 200 and say in the body what went wrong. Their words are kept."""
    for read in (lambda: progress_in(success(body)), lambda: whole_event(orjson.dumps(body))):
        with pytest.raises(UpstreamFailed) as failed:
            read()
        assert (failed.value.code, failed.value.message) == (code, message)
        assert "Exhausted" not in str(failed.value)


def test_the_error_of_a_response_object_is_part_of_it() -> None:
    """A response that failed is a response object."""
    body = {**CREATED, "status": "failed", "error": {"message": "No."}}
    assert progress_in(success(body)) == Progress(Status.FAILED, None, body, "up_1")


# Whole answers


@pytest.mark.parametrize("status", Status)
def test_an_answer_without_a_stream_is_one_event(status: Status) -> None:
    """A server that does not stream answers with JSON. Its type is that of the event for such a status."""
    answer = {**CREATED, "status": status}
    event = whole_event(orjson.dumps(answer))
    assert event == UpstreamEvent(None, {"type": f"response.{status}", "response": answer}, is_whole=True)
    assert event.response_id == "up_1"
    assert whole_event(orjson.dumps({"status": status})).response_id is None


@pytest.mark.parametrize("content", [b"", b"OK", b"[]", b"{}", b'{"id":"up_1"}', b'{"status":"done"}'])
def test_another_answer_without_a_stream_is_invalid(content: bytes) -> None:
    """It shows neither progress nor an error."""
    with pytest.raises(UpstreamInvalid):
        whole_event(content)


# Objects


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a":"cut \\ud83d"}', "cut \ufffd"),
        (b'{"a":-Infinity}', None),
        (b'{"a":"\xff"}', "\ufffd"),
        (b'\xef\xbb\xbf{"a":1}', 1),
    ],
)
def test_an_answer_that_other_readers_take_is_taken(text: bytes, value: object) -> None:
    """A finished answer is not lost because of one character or number in it."""
    assert parse_object(text) == {"a": value}


def test_a_number_of_any_size_keeps_its_digits() -> None:
    """It is written again as it came."""
    text = b'{"seed":340282366920938463463374607431768211456}'
    assert orjson.dumps(parse_object(text)) == text


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
