"""Transactions on the wire: multipart bodies that any reader of MIME understands, and what their answers mean."""

from email.message import Message
from email.parser import BytesParser
from typing import Any

import orjson
import pytest
from azure.core.rest import HttpRequest
from azure.data.tables import TableTransactionError
from hypothesis import given
from hypothesis import strategies as st

from shared.storage.batches import decode, encode

URL = "https://account.table.core.windows.net/responses"
ETAG = "W/\"datetime'2027-01-15T08%3A00%3A00.0000000Z'\""


def insert(content: str | bytes, **headers: str) -> HttpRequest:
    """Return a request that inserts a row."""
    return HttpRequest("POST", URL, headers={"Content-Type": "application/json", **headers}, content=content)


def read(content: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return the first line, the headers and the body of a request in a transaction."""
    head, _, body = content.partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    return line, dict(one.split(": ", 1) for one in headers), body


def parts(requests: list[HttpRequest]) -> list[tuple[str, dict[str, str], bytes]]:
    """Encode requests and return them as the boundaries of the multipart body divide them."""
    batch, content = encode(requests)
    outer = content.split(f"--{batch}".encode())
    assert (len(outer), outer[0], outer[2]) == (3, b"", b"--\r\n")
    head, _, inner = outer[1].partition(b"\r\n\r\n")
    _, _, changeset = head.partition(b"boundary=")
    found = inner.split(b"--" + changeset)
    assert (found[0], found[-1]) == (b"", b"--\r\n\r\n")
    return [read(one.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")) for one in found[1:-1]]


def as_mime(requests: list[HttpRequest]) -> Message:
    """Encode requests and return the body as the standard library's reader of MIME understands it."""
    batch, content = encode(requests)
    return BytesParser().parsebytes(f"Content-Type: multipart/mixed; boundary={batch}\r\n\r\n".encode() + content)


# Requests


def test_a_transaction_is_a_change_set_within_a_batch() -> None:
    """Storage expects a batch of one part, which has one part for each operation."""
    batch, changeset, *operations = as_mime([insert("{}"), HttpRequest("DELETE", URL)]).walk()
    assert batch.get_content_type() == changeset.get_content_type() == "multipart/mixed"
    assert [one.get_content_type() for one in operations] == ["application/http"] * 2
    assert [one["Content-Transfer-Encoding"] for one in operations] == ["binary"] * 2
    assert not batch.defects + changeset.defects


def test_each_operation_is_a_request() -> None:
    """Its part has the method, the URL, the headers that storage needs and the body."""
    (line, headers, body), (other, _, _) = parts([insert('{"a":1}'), HttpRequest("DELETE", f"{URL}(key)")])
    assert line == f"POST {URL} HTTP/1.1"
    assert headers == {
        "Accept": "application/json;odata=minimalmetadata",
        "Content-Type": "application/json",
        "Content-Length": "7",
        "Prefer": "return-no-content",
    }
    assert body == b'{"a":1}'
    assert other == f"DELETE {URL}(key) HTTP/1.1"


def test_only_headers_of_the_operation_are_sent() -> None:
    """The condition of an update is kept. Headers about the whole request, such as its signature, are not repeated."""
    kept = {"If-Match": ETAG, "DataServiceVersion": "3.0"}
    ((_, headers, _),) = parts([insert("{}", **kept, Authorization="SharedKey geheim", **{"x-ms-date": "today"})])
    assert headers.keys() == {"Accept", "Content-Type", "Content-Length", "Prefer", *kept}
    assert {name: headers[name] for name in kept} == kept


def test_an_operation_without_a_body_announces_none() -> None:
    """A delete has only its condition."""
    ((_, headers, body),) = parts([HttpRequest("DELETE", URL, headers={"If-Match": "*"})])
    assert headers == {"Accept": "application/json;odata=minimalmetadata", "If-Match": "*"}
    assert body == b""


def test_the_length_of_a_body_is_in_bytes() -> None:
    """Text is sent as UTF-8, in which a character may have up to four bytes."""
    text = '{"a":"é語😀"}'
    assert parts([insert(text)]) == parts([insert(text.encode())])
    assert parts([insert(text)])[0][1]["Content-Length"] == str(len(text.encode()))


def test_no_two_transactions_have_the_same_boundary() -> None:
    """A boundary is random, so no caller can write one into a value of a row."""
    boundaries = [one.get_boundary() for _ in range(2) for one in as_mime([insert("{}")]).walk() if one.is_multipart()]
    assert len(set(boundaries)) == 4


@given(st.lists(st.binary(min_size=1), min_size=1, max_size=5))
def test_any_bodies_are_sent_unchanged_and_in_order(bodies: list[bytes]) -> None:
    """Each operation keeps its bytes, even if they look like line ends or boundaries."""
    found = parts([insert(body) for body in bodies])
    assert [body for _, _, body in found] == bodies
    assert [int(headers["Content-Length"]) for _, headers, _ in found] == [len(body) for body in bodies]


# Answers


def answer(*operations: tuple[int, str], end: str = "\r\n") -> bytes:
    """Return an answer of storage: the status of each operation, and the headers and the body that follow it."""
    between = ["--changesetresponse_1", "Content-Type: application/http", "Content-Transfer-Encoding: binary", ""]
    lines = ["--batchresponse_1", "Content-Type: multipart/mixed; boundary=changesetresponse_1", ""]
    for status, rest in operations:
        lines += [*between, f"HTTP/1.1 {status} Reason", "DataServiceVersion: 3.0;", rest, "", ""]
    return end.join([*lines, "--changesetresponse_1--", "--batchresponse_1--", ""]).encode()


def refusal(message: Any, code: Any = "EntityAlreadyExists") -> str:
    """Return what follows the status of an operation that storage refuses."""
    error = {"code": code, "message": {"lang": "en-US", "value": message}}
    return "Content-Type: application/json\r\n\r\n" + orjson.dumps({"odata.error": error}).decode()


def failure_of(content: bytes) -> TableTransactionError:
    """Return the error that an answer raises."""
    with pytest.raises(TableTransactionError) as failed:
        decode(content)
    return failed.value


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("name", ["ETag", "etag", "Etag"])
def test_each_operation_returns_its_etag(name: str, end: str) -> None:
    """The ETags are in the order of the operations. A deleted row has none."""
    content = answer((204, f"{name}: {ETAG}"), (204, "X: 1"), (201, f"{name}:{ETAG}2"), end=end)
    assert decode(content) == [{"etag": ETAG}, {"etag": None}, {"etag": f"{ETAG}2"}]


@given(st.lists(st.tuples(st.integers(200, 299), st.integers(0, 10**6).map(str) | st.none()), min_size=1))
def test_an_answer_has_one_result_for_each_operation(operations: list[tuple[int, str | None]]) -> None:
    """Every 2xx is a success, with or without an ETag."""
    content = answer(*((status, f"ETag: {etag}" if etag else "X: 1") for status, etag in operations))
    assert decode(content) == [{"etag": etag} for _, etag in operations]


@pytest.mark.parametrize("status", [400, 404, 409, 412, 413, 500, 503])
@pytest.mark.parametrize("index", [0, 7, 99])
def test_a_failure_has_the_status_the_code_and_the_index(status: int, index: int) -> None:
    """Storage answers with one part for the operation that failed, whose index precedes the message."""
    error = failure_of(answer((status, refusal(f"{index}:The entity {{exists}}.\nRequestId:1\nTime:2"))))
    assert (error.status_code, error.index) == (status, index)
    assert (getattr(error, "error_code", None), "The entity {exists}." in error.message) == (
        "EntityAlreadyExists",
        True,
    )


def test_one_failure_fails_the_transaction() -> None:
    """Successes before or after a failed operation do not count."""
    content = answer((204, f"ETag: {ETAG}"), (412, refusal("1:The condition is not met.")), (204, f"ETag: {ETAG}"))
    assert (failure_of(content).status_code, failure_of(content).index) == (412, 1)


@pytest.mark.parametrize("status", [100, 199, 300, 304])
def test_any_other_status_is_a_failure(status: int) -> None:
    """Only a 2xx says that the operation was carried out."""
    assert failure_of(answer((status, "X: 1"))).status_code == status


def test_an_error_part_without_json_fails_the_first_operation() -> None:
    """An error part without storage's JSON still fails the transaction, at the first operation."""
    with pytest.raises(TableTransactionError) as failed:
        decode(b"--x\r\n\r\nHTTP/1.1 500 Internal Server Error\r\n\r\noops\r\n--x--")
    assert (failed.value.index, failed.value.status_code) == (0, 500)


ODD = ["{", "}{", "{}", '{"odata.error":null}', '{"odata.error":"x"}', '{"odata.error":{"code":"x"}}', "{'a': 1}"]
ODD += [
    '{"odata.error":{"code":"x","message":"text"}}',
    '{"odata.error":{"code":"x","message":{}}}',
    "[1]",
    "\xff{\xff}",
]
ODD += [refusal("no index"), refusal(None), refusal([]), refusal("", code=None)]


@pytest.mark.parametrize("body", ODD)
def test_an_error_in_an_unknown_form_fails_the_first_operation(body: str) -> None:
    """An error that storage, or something in front of it, describes in another way has the same status."""
    error = failure_of(answer((503, f"X: 1\r\n\r\n{body}")))
    assert (error.status_code, error.index) == (503, 0)
