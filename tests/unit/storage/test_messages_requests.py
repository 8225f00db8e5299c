"""Queued requests: any message is read, and a request that is sent again is still the same request."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.errors import BadRequest, UnreadableMessage
from shared.storage.messages import (
    MAX_REQUEST,
    MAX_UNREAD,
    QueuedRequest,
    Rejection,
    rejected_request,
    requeued_request,
    returned_request,
)

ASK = {"model": "m", "input": "question"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MAX_MESSAGE = 65_536 * 3 // 4  # bytes that fit into 64 KiB of base64


def message(**members: Any) -> bytes:
    """Return a message with these members."""
    return orjson.dumps({"request": ASK, **members})


def read(body: bytes) -> QueuedRequest:
    """Return the request in a message to which the queue gave the id `m-1`."""
    return QueuedRequest.read("m-1", body)


def error_in(queued: QueuedRequest) -> BadRequest:
    """Return the error in a request that is wrong."""
    assert queued.wrong
    return queued.wrong


def test_every_member_of_a_request_is_read() -> None:
    """A sender may give an id, a reply queue, a correlation id and a trace."""
    body = message(id="order-7", reply_to="replies-1", correlation_id="order 7", traceparent=TRACE, colour="red")
    assert read(body) == QueuedRequest("order-7", ASK, "replies-1", "order 7", TRACE)


def test_only_the_request_is_required() -> None:
    """Without an id the message has the one that its queue gave it. A null counts as absent."""
    nulls = dict.fromkeys(["id", "first_message", "reply_to", "correlation_id", "traceparent", "returned", "rejected"])
    assert read(message()) == read(message(**nulls)) == QueuedRequest("m-1", ASK)


def test_a_message_of_a_hundred_thousand_values_is_not_read() -> None:
    """Like everything that others send, it is counted before it is read. The error names the limit."""
    queued = read(b'{"request":{"tools":[' + b"[]," * 100_000 + b"0]}}")
    assert (error_in(queued).code, error_in(queued).message) == (
        "invalid_value",
        "The message may hold at most 100000 objects and lists.",
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_message(encoding: str) -> None:
    """Senders on .NET and Windows write one. The request and where its reply goes are read all the same."""
    body = message(reply_to="replies-1").decode().encode(encoding)
    assert read(body) == QueuedRequest("m-1", ASK, "replies-1")
    assert read(requeued_request("m-1", body)) == read(body)
    assert read(returned_request("m-1", body)).reply_to == "replies-1"


def test_a_broken_message_with_a_byte_order_mark_is_kept_as_text() -> None:
    """The mark is not part of the input either."""
    assert read(b"\xef\xbb\xbfhello").request == {"input": "hello"}
    assert error_in(read(b"\xff\xfe{\x00\x00")).code == "invalid_json"


def test_copies_of_a_message_start_one_response() -> None:
    """The id of the response follows from the id of the message, and from nothing else.

    It is the same in every version, because a copy may arrive after a deployment.
    """
    first = read(message(id="order-7"))
    assert QueuedRequest.read("m-2", message(id="order-7", reply_to="replies-2")).response_id == first.response_id
    assert read(message(id="order-8")).response_id != first.response_id
    assert QueuedRequest("order-7", {}).response_id == first.response_id
    assert first.response_id == "resp_d8bd717753f8c1f880933bbc486fc997"


@pytest.mark.parametrize("name", ["id", "first_message", "reply_to", "correlation_id"])
def test_a_name_has_1_to_256_characters(name: str) -> None:
    """Characters count, and not bytes. The error names the first member that is wrong, and the others are kept."""
    assert getattr(read(message(**{name: "é" * 256})), "id" if name == "first_message" else name) == "é" * 256
    good = {"id": "order-7", "reply_to": "replies-1", "correlation_id": "order 7"}
    wrong: list[Any] = ["", "é" * 257, 7, True, ["a"], {}]
    for value in wrong:
        queued = read(message(**{**good, name: value}))
        error = error_in(queued)
        assert (error.param, error.code) == (name, "invalid_type")
        expected = {**good, "id": "m-1"} if name == "id" else {**good, name: None}
        assert {one: getattr(queued, one) for one in good} == {one: expected[one] for one in good}


@pytest.mark.parametrize("request_value", [None, "question", 7, [], [ASK]])
def test_the_request_must_be_an_object(request_value: Any) -> None:
    """If it is not, the text of the message is kept in its place, so that an operator sees what was sent."""
    body = message(request=request_value, reply_to="replies-1")
    queued = read(body)
    assert (error_in(queued).param, error_in(queued).code) == ("request", "invalid_type")
    assert (queued.request, queued.reply_to) == ({"input": body.decode()}, "replies-1")


def test_the_first_error_is_reported() -> None:
    """Names are checked before the request."""
    assert error_in(read(message(request=7, correlation_id=7, reply_to=7))).param == "reply_to"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"{'request': {}}", "invalid_json"),
        (b'{"request":"\xff"}', "invalid_json"),
        (b'{"request":{}, "id":"\\ud800"}', "invalid_json"),
        (b'{"request":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "invalid_json"),
        (b"null", "invalid_type"),
        (b"[]", "invalid_type"),
        (b'"question"', "invalid_type"),
        (message(input="x" * MAX_REQUEST), "too_large"),
        (b"[" + b" " * MAX_REQUEST + b"]", "too_large"),
    ],
    ids=range(11),
)
def test_a_message_that_is_wrong_as_a_whole_keeps_its_text(body: bytes, code: str) -> None:
    """It has the id of the queue. The first 8,192 characters are kept, with a mark for each byte that is not UTF-8."""
    queued = read(body)
    assert (queued.id, queued.reply_to, error_in(queued).code) == ("m-1", None, code)
    assert queued.request == {"input": body.decode(errors="replace")[:MAX_UNREAD]}


@pytest.mark.parametrize("over", [0, 1])
def test_a_message_has_a_maximum_size(over: int) -> None:
    """A message of MAX_REQUEST bytes is read. With one more it is too large."""
    body = message(pad="")
    body = message(pad="x" * (MAX_REQUEST - len(body) + over))
    assert (read(body).wrong is not None) == bool(over)


@pytest.mark.parametrize("text", [7, None, [TRACE], {}])
def test_an_unreadable_trace_is_ignored(text: Any) -> None:
    """No request fails because of its trace."""
    queued = read(message(traceparent=text))
    assert (queued.traceparent, queued.wrong) == ("", None)


@given(st.binary())
def test_any_bytes_are_read_as_a_request(body: bytes) -> None:
    """Nothing is raised, because the sender must learn what is wrong."""
    assert read(body).response_id.startswith("resp_")


# Requests that are sent again

names = st.text(min_size=1, max_size=256)
members = st.fixed_dictionaries(
    {},
    optional={
        "request": st.just(ASK) | st.integers(0, 9),
        "id": names | st.none() | st.integers(0, 9),
        "reply_to": names | st.integers(0, 9),
        "correlation_id": st.none() | names,
        "traceparent": st.text(),
        "colour": st.integers(0, 9),
    },
)


@given(members)
def test_a_request_that_is_sent_again_is_the_same_request(said: dict[str, Any]) -> None:
    """The queue gives the copy another id, but the copy carries the first one. So it starts no second response.

    A request from the poison queue is also marked as returned.
    """
    first = read(orjson.dumps(said))
    copies = [requeued_request("m-1", orjson.dumps(said)), returned_request("m-1", orjson.dumps(said))]
    for copy in copies:
        again = QueuedRequest.read("m-2", copy)
        assert again.response_id == first.response_id
        assert (again.reply_to, again.correlation_id) == (first.reply_to, first.correlation_id)
        assert (again.traceparent, again.wrong is None) == (first.traceparent, first.wrong is None)
    assert orjson.loads(copies[0]) == {"first_message": "m-1", **said}
    assert orjson.loads(copies[1]) == {"first_message": "m-1", **said, "returned": True}
    assert [QueuedRequest.read("m-2", copy).returned for copy in copies] == [False, True]


@given(members)
def test_a_request_that_an_earlier_version_sent_again_is_the_same_request(said: dict[str, Any]) -> None:
    """Earlier versions carried the id of the first message as `id`. Such copies may lie in the queues."""
    said.pop("id", None)
    first, copy = read(orjson.dumps(said)), orjson.dumps({"id": "m-1", **said, "returned": True})
    again = QueuedRequest.read("m-2", copy)
    assert (again.response_id, again.returned) == (first.response_id, True)
    assert QueuedRequest.read("m-3", requeued_request("m-2", copy)).response_id == first.response_id


@pytest.mark.parametrize("wrong", [7, "", True, ["order-7"]])
def test_a_wrong_id_makes_no_two_messages_one(wrong: Any) -> None:
    """Two messages with the same wrong `id` are two failed responses. A copy of one of them is still that one."""
    body = message(id=wrong)
    first, second = QueuedRequest.read("m-1", body), QueuedRequest.read("m-2", body)
    assert error_in(first).param == error_in(second).param == "id"
    assert first.response_id != second.response_id
    assert QueuedRequest.read("m-3", requeued_request("m-1", body)).response_id == first.response_id


METADATA = {"dequeueCount": 5, "expirationTime": "2027-01-01T00:00:00Z", "InsertionTime": 1, "PopReceipt": "x", "Id": 7}


def test_members_named_as_metadata_are_not_read() -> None:
    """Only `id`, in small letters, is a member of a request. All others are the sender's own business."""
    assert read(message(**METADATA)) == QueuedRequest("m-1", ASK)


def test_our_own_copies_add_no_member_named_as_metadata() -> None:
    """What we add to a request is not taken for the message's own id, dequeue count or times."""
    copies = [requeued_request("m-1", b"{}"), returned_request("m-1", b"{}")]
    copies.append(rejected_request(QueuedRequest("m-1", ASK), Rejection("why", None)))
    for copy in copies:
        assert not {name.lower() for name in orjson.loads(copy)} & {"id", *(name.lower() for name in METADATA)}


@given(members)
def test_sending_again_twice_changes_nothing_more(said: dict[str, Any]) -> None:
    """A request that waits for a long time does not grow, and stays marked once it has returned."""
    for send in (requeued_request, returned_request):
        once = send("m-1", orjson.dumps(said))
        assert orjson.loads(send("m-2", once)) == orjson.loads(once)
        assert orjson.loads(requeued_request("m-2", once)) == orjson.loads(once)


@pytest.mark.parametrize("said", [None, False, 1, "true", [True]])
def test_only_true_marks_a_request_as_returned(said: Any) -> None:
    """A sender's member of that name is not taken for the mark unless it is exactly that."""
    assert not read(message(returned=said)).returned
    assert read(message(returned=True)).returned


@pytest.mark.parametrize("body", [b"", b"{", b"7", b"[]", b"null"])
def test_only_a_json_object_can_be_sent_again(body: bytes) -> None:
    """There is no place for the id in any other message."""
    for send in (requeued_request, returned_request):
        with pytest.raises(UnreadableMessage) as unreadable:
            send("m-1", body)
        assert unreadable.value.body == body


@pytest.mark.parametrize("code", ["invalid_json", None])
def test_a_rejected_request_is_read_with_its_reason(code: str | None) -> None:
    """It keeps its id, its content and its trace, so that its response fails with that reason."""
    rejection = Rejection("'reply_to' names a queue that is not allowed.", code)
    for body in (message(id="order-7", reply_to="nudges", traceparent=TRACE), b"{\xff"):
        queued = read(body)
        again = QueuedRequest.read("m-2", rejected_request(queued, rejection))
        assert again == QueuedRequest(queued.id, queued.request, traceparent=queued.traceparent, rejected=rejection)


@pytest.mark.parametrize(
    "said", [None, "why", {}, {"reason": "why"}, {"reason": 7, "code": None}, {"reason": "why", "code": 7}]
)
def test_a_rejection_in_another_form_is_none(said: Any) -> None:
    """Only a rejection that this service has written counts."""
    assert read(message(rejected=said)).rejected is None
    assert read(message(rejected={"reason": "why", "code": None, "more": 1})).rejected is None


def test_the_largest_request_fits_its_queue_after_every_step() -> None:
    """With the longest id and everything that is added, a message is still below the limit of the queue."""
    name, pad = "\N{GRINNING FACE}" * 256, MAX_REQUEST - len(message(id="", traceparent=TRACE, pad=""))
    body = message(traceparent=TRACE, pad="x" * pad)
    assert len(returned_request(name, requeued_request(name, body))) <= MAX_MESSAGE
    whole = QueuedRequest(name, {"input": "x" * pad}, traceparent=TRACE)
    rejected = rejected_request(whole, Rejection("x" * 256, "c" * 64))
    assert len(rejected) <= MAX_MESSAGE
    assert QueuedRequest.read("m-2", rejected).rejected
