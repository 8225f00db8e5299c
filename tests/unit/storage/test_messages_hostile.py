"""Hostile queued requests: each is judged before it is written, and what is written has room in a message."""

from typing import Any

import orjson
import pytest

from shared.contract.requests import MAX_DEPTH
from shared.contract.responses import MAX_MESSAGE
from shared.storage.messages import (
    MAX_REQUEST,
    MAX_UNREAD,
    QueuedRequest,
    Rejection,
    rejected_request,
    requeued_request,
    returned_request,
)

WHY = Rejection("why", "c")


def nested(levels: int, around: bytes = b'{"request":{"input":%b}}') -> bytes:
    """Return a message with a value that is nested so deeply."""
    return around % (b"[" * levels + b"]" * levels)


def read(body: bytes) -> QueuedRequest:
    """Return the request in a message to which the queue gave the id `m-1`."""
    return QueuedRequest.read("m-1", body)


@pytest.mark.parametrize("levels", [MAX_DEPTH, 254, 255, 1_000, 1_020])
def test_a_request_that_is_nested_too_deeply_is_wrong(levels: int) -> None:
    """It could be read, and from 255 levels on not be written again. So its text is kept in its place."""
    queued = read(nested(levels))
    assert queued.wrong
    assert (queued.wrong.param, queued.wrong.code) == ("request", "invalid_value")
    assert str(MAX_DEPTH) in queued.wrong.message
    assert queued.request == {"input": nested(levels).decode()}
    assert read(nested(MAX_DEPTH - 1)).wrong is None


@pytest.mark.parametrize("levels", [200, 1_000])
def test_a_deep_member_beside_the_request_harms_nothing(levels: int) -> None:
    """What is sent again keeps its bytes, so nothing of it has to be written."""
    body = nested(levels, b'{"request":{"model":"m"},"x":%b}')
    for copy in (requeued_request("m-1", body), returned_request("m-1", body)):
        assert copy.startswith(body[:-1])
        again = QueuedRequest.read("m-2", copy)
        assert (again.id, again.request, again.wrong) == ("m-1", {"model": "m"}, None)


def test_a_request_that_is_sent_again_does_not_grow() -> None:
    """`1e15` has four characters, and 18 if it is read and written."""
    body = b'{"request":{"input":[' + b",".join([b"1e15"] * 9_000) + b"]}}"
    assert len(orjson.dumps(orjson.loads(body))) > 3 * MAX_MESSAGE
    for copy in (requeued_request("m-1", body), returned_request("m-1", body)):
        assert len(copy) < len(body) + 100
        assert QueuedRequest.read("m-2", copy).request == read(body).request


@pytest.mark.parametrize("body", [b" {} ", b'\n{"first_message":null}\t', b'{"returned":false}'])
def test_the_added_members_count(body: bytes) -> None:
    """They stand behind those of the sender, whatever is around the object."""
    again = QueuedRequest.read("m-2", returned_request("m-1", body))
    assert (again.id, again.returned) == ("m-1", True)


NAME = "\N{GRINNING FACE}" * 256
HOSTILE: dict[str, bytes] = {
    "control characters": b'{"request":' + b"\x01" * 9_000,
    "binary": bytes(range(256)) * 180,
    "text of marks": b"\xff" * 48_000,
    "numbers that grow": b'{"request":{"input":[' + b",".join([b"1e15"] * 9_000) + b"]}}",
    "as large as a message": orjson.dumps({"request": {"input": "x" * 48_900}}),
    "escapes": b'{"request":{"input":"' + b"\\u0001" * 7_600 + b'"}}',
    "quotes": orjson.dumps({"request": {"input": '"\\' * 12_000}}),
    "a large trace": orjson.dumps({"request": {"input": "x" * 20_000}, "traceparent": "\0" * 4_000}),
    "a large name": orjson.dumps({"request": {"input": "x" * 44_000}, "id": NAME, "reply_to": NAME, "metadata": 7}),
    "deep": nested(1_000),
    "a list": b"[" + b"1," * 24_000 + b"1]",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("reason", ["why", "\x01" * 5_000, "\N{GRINNING FACE}" * 5_000])
def test_a_rejected_request_has_room_in_a_message(body: bytes, reason: str) -> None:
    """One that has none would be refused by storage, and come again for ever. It keeps the beginning of its text."""
    assert len(body) <= MAX_MESSAGE
    queued = read(body)
    moved = rejected_request(queued, Rejection(reason, "c" * 100))
    assert len(moved) <= MAX_MESSAGE
    again = QueuedRequest.read("m-2", moved)
    assert (again.response_id, again.rejected) == (queued.response_id, Rejection(reason[:500], "c" * 100))
    is_whole: Any = again.request == queued.request
    assert is_whole or str(again.request["input"])[:100] in orjson.dumps(queued.request).decode()


def test_a_message_that_is_too_large_is_answered() -> None:
    """Its names are read. Its text is kept in part."""
    names = {"id": "order-7", "reply_to": "replies-1", "correlation_id": "7"}
    queued = read(orjson.dumps({"request": {"input": "x" * MAX_REQUEST}, **names}))
    assert queued.wrong
    assert queued.wrong.code == "too_large"
    assert (queued.id, queued.reply_to, queued.correlation_id) == (*names.values(),)
    assert len(str(queued.request["input"])) == MAX_UNREAD


def test_a_rejected_request_that_has_room_is_kept_whole() -> None:
    """An operator sees what was sent, and so does whoever reads its failed response."""
    body = orjson.dumps({"request": {"input": "x" * (MAX_REQUEST - 100)}})
    assert read(rejected_request(read(body), WHY)).request == read(body).request


@pytest.mark.parametrize("length", [256, 257])
def test_a_trace_has_a_maximum_length(length: int) -> None:
    """A longer one is none."""
    assert bool(read(orjson.dumps({"request": {}, "traceparent": "x" * length})).traceparent) == (length == 256)
