"""A wrong or hostile HTTP request gets a 4xx that says what is wrong, and never a 500."""

from collections.abc import Iterator

import httpx
import pytest

from local.azurite import Azurite
from tests.support.peer_processes import error_of
from tests.support.service_process import Service, create, service

MIB = 1_048_576
JSON = {"Content-Type": "application/json"}
DEEP = b'{"model":"sim-1s","input":%b%b}'

UNREADABLE = {
    "empty": b"",
    "cut off": b'{"model": "sim-1s"',
    "a list": b"[]",
    "null": b"null",
    "a string": b'"resp"',
    "NaN": b'{"model": "sim-1s", "temperature": NaN}',
    "infinity": b'{"model": "sim-1s", "temperature": -Infinity}',
    "lone surrogate": b'{"model": "sim-1s", "input": "\\ud800"}',
    "invalid UTF-8": b'{"model": "sim-1s", "input": "\xff\xfe"}',
    "UTF-16": '{"model": "sim-1s"}'.encode("utf-16"),
    "control character": b'{"model": "sim-1s", "input": "\x00"}',
    "fifty thousand brackets": DEEP % (b"[" * 50_000, b"]" * 50_000),
    "another thing behind it": b'{"model": "sim-1s"} {}',
}
WRONG_FIELDS: dict[str, list[object]] = {
    "model": [5, "", "x" * 257, ["sim-1s"], "gpt-none"],
    "input": [5, True, {"text": "x"}, [1, 2]],
    "background": ["yes", 1],
    "stream": ["yes", 1],
    "store": [0, "true"],
    "metadata": [[], "x", {"a": 1}, {"a": None}, {"k" * 65: "v"}, {"k": "v" * 513}, {f"k{n}": "v" for n in range(17)}],
    "previous_response_id": [5, "", "resp_x", "x" * 200, "resp_" + "g" * 32, "ct_AAAA"],
    "callback_url": [5, "", "not a url", "ftp://example.com/", "http://example.com/", "https://10.0.0.1/", "x" * 3000],
    "reply_to": [5, "", "Upper", "results", "a--b"],
    "tools": [5, "x", [1]],
}
STRANGE_IDS = [
    "resp_",
    "resp_x",
    "resp_" + "0" * 31,
    "resp_" + "G" * 32,
    "ct_",
    "ct_%00",
    "%00",
    "x" * 2000,
    "a'b",
    "ü",
]

ID = f"resp_{'0' * 32}"


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests of this module. It must have logged nothing unexpected at the end."""
    with service(tmp_path_factory.mktemp("errors"), azurite.account()) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def client(running: Service) -> httpx.Client:
    """Return a client of the service."""
    return running.client()


def _of_size(size: int) -> bytes:
    empty = b'{"model":"sim-instant","input":""}'
    return empty.replace(b'""', b'"%b"' % (b"x" * (size - len(empty))))


def _is_well(client: httpx.Client) -> bool:
    return bool(create(client, "sim-instant")["status"] == "completed")


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_a_body_that_is_not_a_json_object_is_400(client: httpx.Client, body: bytes) -> None:
    """The error has the full envelope, and the service answers the next request."""
    status, _, code = error_of(client.post("/responses", content=body, headers=JSON))
    assert (status, code) in {(400, "invalid_json"), (400, "invalid_type")}
    assert _is_well(client)


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG_FIELDS.items() for value in values]
)
def test_a_wrong_field_is_named(client: httpx.Client, field: str, value: object) -> None:
    """A field of a wrong type, length or value is a 400 with `param`. The service or the upstream refuses it."""
    status, param, _ = error_of(client.post("/responses", json={"model": "sim-1s", field: value}))
    assert (status, param) == (400, field)


def test_nesting_is_limited_and_the_field_named(client: httpx.Client) -> None:
    """A body with 100 levels is read. A deeper one is a 400 with `param`."""
    passing, refused = (
        client.post("/responses", content=DEEP % (b"[" * depth, b"]" * depth), headers=JSON) for depth in (99, 101)
    )
    assert error_of(refused) == (400, "input", "invalid_value")
    assert passing.status_code != 500
    assert _is_well(client)


@pytest.mark.parametrize("size", [8 * MIB + 1, 20 * MIB])
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_over_the_limit_is_413(client: httpx.Client, size: int, chunked: bool) -> None:
    """A body over 8 MiB is a 413, with a declared length or in chunks. The service answers the next request."""
    body = _of_size(size)
    content = (body[start : start + MIB] for start in range(0, size, MIB)) if chunked else body
    answer = client.post("/responses", content=content, headers=JSON)
    assert error_of(answer) == (413, None, "request_too_large")
    assert _is_well(client)


def test_a_body_at_the_limit_is_accepted(client: httpx.Client) -> None:
    """A body of exactly 8 MiB is accepted."""
    answer = client.post("/responses", content=_of_size(8 * MIB), headers=JSON)
    assert answer.json()["status"] == "completed"


def test_a_body_that_is_too_large_when_compressed_is_413(client: httpx.Client) -> None:
    """A body under 8 MiB is refused if it is still too large for a record after compression."""
    noise = "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(2 * MIB))
    answer = client.post("/responses", json={"model": "sim-instant", "input": noise})
    assert error_of(answer) == (413, None, "request_too_large")


def test_a_chunked_body_within_the_limit_is_accepted(client: httpx.Client) -> None:
    """A request needs no `Content-Length`."""
    chunks = (part for part in (b'{"model":', b'"sim-instant",', b'"input":"One."}'))
    assert client.post("/responses", content=chunks, headers=JSON).json()["status"] == "completed"


def test_a_content_type_other_than_json_is_415(client: httpx.Client) -> None:
    """Forms and plain text are refused. Types such as `application/vnd.api+json` and a missing type are accepted."""
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = client.post("/responses", content=b"{}", headers={"Content-Type": kind})
        assert error_of(answer)[:2] == (415, "Content-Type")
    for headers in ({"Content-Type": "application/vnd.api+json; charset=utf-8"}, {}):
        answer = client.post("/responses", content=b'{"model":"sim-instant"}', headers=headers)
        assert answer.status_code == 200


@pytest.mark.parametrize("key", [b"", b"with space", b"x" * 256, "ü".encode()])
def test_a_wrong_idempotency_key_is_400(client: httpx.Client, key: bytes) -> None:
    """A key that is not 1 to 255 visible ASCII characters is a 400 that names the header."""
    answer = client.post("/responses", json={"model": "sim-1s"}, headers={b"Idempotency-Key": key})
    assert error_of(answer)[:2] == (400, "Idempotency-Key")


@pytest.mark.parametrize("prefer", ["wait=-1", "wait=x", "wait", "respond-asynchronously", ";;=,", "wait=1e9"])
def test_an_unknown_or_invalid_preference_is_ignored(client: httpx.Client, prefer: str) -> None:
    """A preference never causes an error (RFC 7240)."""
    answer = client.post("/responses", json={"model": "sim-instant"}, headers={"Prefer": prefer})
    assert answer.status_code == 200


@pytest.mark.parametrize("named", STRANGE_IDS)
def test_an_id_of_no_response_is_404(client: httpx.Client, named: str) -> None:
    """Retrieve and cancel answer 404 whatever the form of the id."""
    for answer in (client.get(f"/responses/{named}"), client.post(f"/responses/{named}/cancel")):
        assert error_of(answer) == (404, None, None)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "after=msg_none"])
def test_a_wrong_page_parameter_is_400(client: httpx.Client, query: str) -> None:
    """A wrong `limit`, `order` or `after` is a 400 that names the parameter."""
    response_id = create(client, "sim-instant")["id"]
    answer = client.get(f"/responses/{response_id}/input_items?{query}")
    assert error_of(answer)[:2] == (400, query.partition("=")[0])


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eA=="}, {"api-key": ""}]
)
def test_every_request_without_a_valid_key_is_401(running: Service, headers: dict[str, str]) -> None:
    """A path that does not exist is a 401 too, so a client without a key learns nothing."""
    stranger = running.stranger()
    for method, path in (("POST", "/v1/responses"), ("GET", f"/openai/v1/responses/resp_{'0' * 32}")):
        answer = stranger.request(method, path, headers=headers)
        assert error_of(answer) == (401, None, "invalid_api_key")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/none", 404),
        ("PATCH", "/v1/responses", 405),
        ("PUT", "/openai/v1/responses", 405),
        ("PATCH", f"/openai/responses/{ID}", 405),
        ("GET", f"/v1/responses/{ID}/cancel", 405),
        ("POST", "/v1/responses/resp_1", 404),
        ("POST", "/health/ready", 405),
    ],
)
def test_a_request_that_no_route_accepts_is_404_or_405(running: Service, method: str, path: str, status: int) -> None:
    """The error has the full envelope."""
    assert error_of(running.stranger().request(method, path))[0] == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("TRACE", "/v1/responses"),
        ("PURGE", "/v1/none"),
        ("GET", "/v1/responses/resp_%0A"),
        ("GET", "/v1/responses/a%20b"),
        ("POST", "/v1/responses/a%09b/cancel"),
        ("GET", "/none/%0D%0Ax"),
    ],
)
def test_a_request_that_reaches_no_function_is_answered_by_the_platform(
    running: Service, method: str, path: str
) -> None:
    """A method of no function, or white space in a path, is an empty 404.

    Such a request must not reach the worker's web server, which might answer it without calling a function.
    """
    answer = running.stranger().request(method, path)
    assert (answer.status_code, answer.content, answer.headers.get("x-request-id")) == (404, b"", None)


def test_every_answer_has_a_request_id(running: Service, client: httpx.Client) -> None:
    """Success and error answers carry an `x-request-id`, and no two are equal."""
    paths = ["/responses/resp_none", "/responses/resp_none", "/none"]
    answers = [*map(client.get, paths), running.stranger().get("/health/live"), client.post("/responses", json={})]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers)
    assert all(request_id.startswith("req_") for request_id in ids)


def test_a_webhook_that_nobody_expects_is_not_read(running: Service) -> None:
    """It is a 404, whatever it brings: anybody can send one, and webhooks are not configured here."""
    for body in (b"{}", b"x" * 9 * MIB):
        answer = running.stranger().post("/webhooks/upstream", content=body, headers=JSON)
        assert error_of(answer)[0] == 404


def test_health_needs_no_key(running: Service) -> None:
    """`live` says that the process answers. `ready` says that storage and upstream credentials can be used."""
    for name in ("live", "ready"):
        answer = running.stranger().get(f"/health/{name}")
        assert (answer.status_code, answer.json()["status"]) == (200, name)
