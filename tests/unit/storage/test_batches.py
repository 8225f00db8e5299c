"""Transactions on the wire: multipart bodies that any reader of MIME understands, and what their answers mean."""

from base64 import b64decode
from email.message import Message
from email.parser import BytesParser
from typing import Any

import orjson
import pytest
from azure.core import MatchConditions
from azure.data.tables import TableTransactionError, UpdateMode
from hypothesis import given
from hypothesis import strategies as st

from shared.storage.batches import Operation, decode, encode, row_path

TABLE = "https://account.table.core.windows.net/responses"
ROW = f"{TABLE}(PartitionKey='a',RowKey='k')"
ETAG = "W/\"datetime'2027-01-15T08%3A00%3A00.0000000Z'\""
AS_READ = {"etag": ETAG, "match_condition": MatchConditions.IfNotModified}


def row(**properties: Any) -> dict[str, Any]:
    """Return a row."""
    return {"PartitionKey": "a", "RowKey": "k", **properties}


def read(content: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return the first line, the headers and the body of a request in a transaction."""
    head, _, body = content.partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    return line, dict(one.split(": ", 1) for one in headers), body


def parts(*operations: Operation) -> list[tuple[str, dict[str, str], bytes]]:
    """Encode operations and return their requests as the boundaries of the multipart body divide them."""
    batch, content = encode(TABLE, operations)
    outer = content.split(f"--{batch}".encode())
    assert (len(outer), outer[0], outer[2]) == (3, b"", b"--\r\n")
    head, _, inner = outer[1].partition(b"\r\n\r\n")
    _, _, changeset = head.partition(b"boundary=")
    found = inner.split(b"--" + changeset)
    assert (found[0], found[-1]) == (b"", b"--\r\n\r\n")
    return [read(one.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")) for one in found[1:-1]]


def as_mime(*operations: Operation) -> Message:
    """Encode operations and return the body as the standard library's reader of MIME understands it."""
    batch, content = encode(TABLE, operations)
    return BytesParser().parsebytes(f"Content-Type: multipart/mixed; boundary={batch}\r\n\r\n".encode() + content)


# Requests


def test_a_transaction_is_a_change_set_within_a_batch() -> None:
    """Storage expects a batch of one part, which has one part for each operation."""
    batch, changeset, *operations = as_mime(("create", row()), ("delete", row())).walk()
    assert batch.get_content_type() == changeset.get_content_type() == "multipart/mixed"
    assert [one.get_content_type() for one in operations] == ["application/http"] * 2
    assert [one["Content-Transfer-Encoding"] for one in operations] == ["binary"] * 2
    assert not batch.defects + changeset.defects


COMMON = {"Accept": "application/json;odata=minimalmetadata", "DataServiceVersion": "3.0"}
WITH_BODY = {**COMMON, "Content-Type": "application/json", "Prefer": "return-no-content"}


@pytest.mark.parametrize(
    ("operation", "line", "headers"),
    [
        (("create", row()), f"POST {TABLE}", WITH_BODY),
        (("update", row()), f"PATCH {ROW}", {**WITH_BODY, "If-Match": "*"}),
        (("update", row(), {"mode": UpdateMode.MERGE, **AS_READ}), f"PATCH {ROW}", {**WITH_BODY, "If-Match": ETAG}),
        (("delete", row()), f"DELETE {ROW}", {**COMMON, "If-Match": "*"}),
        (("delete", row(), AS_READ), f"DELETE {ROW}", {**COMMON, "If-Match": ETAG}),
    ],
)
def test_each_operation_is_a_request(operation: Operation, line: str, headers: dict[str, str]) -> None:
    """It has the method, the URL, its condition and, unless it deletes, the row.

    https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
    """
    ((found, sent, body),) = parts(operation)
    assert found == f"{line} HTTP/1.1"
    assert {name: value for name, value in sent.items() if name != "Content-Length"} == headers
    expected = b"" if operation[0] == "delete" else b'{"PartitionKey":"a","RowKey":"k"}'
    assert body == expected
    assert sent.get("Content-Length") == (str(len(expected)) if expected else None)


@pytest.mark.parametrize(
    "operation", [("upsert", row()), ("update", row(), {"mode": UpdateMode.REPLACE}), ("Create", row())]
)
def test_an_operation_that_the_store_does_not_use_is_refused(operation: Operation) -> None:
    """It is an error, and no transaction without it."""
    with pytest.raises(ValueError, match="unknown operation"):
        encode(TABLE, [("create", row()), operation])


@pytest.mark.parametrize("key", ["a'b", "a/b?c#d%20", "ä 語😀"])
def test_a_key_is_quoted_in_a_url(key: str) -> None:
    """A quote is doubled, as in OData, and every other character that means something in a URL is escaped."""
    path = row_path(key, key)
    assert path.isascii()
    assert not set(path) & set("/?# ")
    assert path.count("'") == 4


def test_every_kind_of_value_has_its_type() -> None:
    """Bytes are Base64 and say so. Text, numbers and Booleans are as in JSON."""
    values: dict[str, Any] = {"t": "é語", "b": b"\x00\xff", "yes": True, "n": -(2**31), "m": 2**31 - 1, "empty": b""}
    ((_, headers, body),) = parts(("create", row(**values)))
    said = orjson.loads(body)
    assert headers["Content-Length"] == str(len(body))
    assert {name: value for name, value in said.items() if name.endswith("type")} == {
        "b@odata.type": "Edm.Binary",
        "empty@odata.type": "Edm.Binary",
    }
    assert (b64decode(said["b"]), b64decode(said["empty"])) == (b"\x00\xff", b"")
    assert {name: said[name] for name in ("t", "yes", "n", "m")} == {
        "t": "é語",
        "yes": True,
        "n": -(2**31),
        "m": 2**31 - 1,
    }


@pytest.mark.parametrize("value", [None, 1.5, 2**31, -(2**31) - 1, ["a"], {"a": 1}])
def test_a_value_that_no_row_has_is_refused(value: Any) -> None:
    """Storage would take some of them in another type than was written."""
    with pytest.raises(TypeError, match="'x'"):
        encode(TABLE, [("create", row(x=value))])


def test_no_character_of_a_value_ends_a_line() -> None:
    """Some servers read a body as lines, and know more line ends than those of MIME. So it is ASCII."""
    value = "a\u2028b\u2029c\x85d\ne\rf\U0001f642"
    ((_, headers, body),) = parts(("create", row(text=value)))
    assert body.isascii()
    assert len(body.splitlines()) == 1
    assert (orjson.loads(body)["text"], headers["Content-Length"]) == (value, str(len(body)))


def test_no_two_transactions_have_the_same_boundary() -> None:
    """A boundary is random, so no caller can write one into a value of a row."""
    made = [as_mime(("create", row())) for _ in range(2)]
    assert len({one.get_boundary() for each in made for one in each.walk() if one.is_multipart()}) == 4


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_any_texts_are_sent_unchanged_and_in_order(texts: list[str]) -> None:
    """Each operation keeps its values, even if they look like line ends or boundaries."""
    found = parts(*(("create", row(text=text)) for text in texts))
    assert [orjson.loads(body)["text"] for _, _, body in found] == texts


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
