"""The edge of every HTTP function: request bodies are limited, and every exception becomes an answer."""

import asyncio
import gzip
from collections.abc import Callable, Iterable
from typing import Any, cast

import httpx
import openai
import orjson
import pytest
import zstandard
from azurefunctions.extensions.http.fastapi import Request, Response
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from functions.answers import RETRY_AFTER_S, EventStream, RefusedByStorage, as_json, as_response, for_anyone, read_json
from shared.contract.requests import MAX_BODY
from shared.core import errors
from shared.core.errors import ServiceError, StreamBroken, TooLarge, UnsupportedMediaType
from shared.core.records import Record
from shared.core.states import Status
from shared.runs.streams import Stream
from shared.runtime.clock import SystemClock
from tests.support.log_capture import WrittenLines, log_events, log_lines

SECRET = "sk-geheim"
RECORD = Record("resp_0123456789abcdef0123456789abcdef", "ann", created_ms=0, deadline_ms=1)


def request(chunks: Iterable[bytes] = (), **headers: str) -> Request:
    """Return a request as the platform passes it on, with its body in these chunks."""
    fields = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    left = iter(chunks)

    async def receive() -> Any:
        chunk = next(left, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": fields}, receive)


def answered(error: BaseException | None) -> Response:
    """Return the answer of a function whose handler raises this error. With None, the handler answers 201."""

    async def handle(_: Request) -> Response:
        if error:
            raise error
        return as_json({"fine": True}, 201, {"X-More": "1"})

    async def main() -> Response:
        return await for_anyone(handle)(request())

    return asyncio.run(main())


class Broken:
    """A stream that raises this exception. With None, it ends."""

    def __init__(self, raised: Exception | None) -> None:
        self._raised = raised

    def __aiter__(self) -> "Broken":
        return self

    async def __anext__(self) -> bytes:
        raise self._raised or StopAsyncIteration

    async def aclose(self) -> None:
        """Do nothing."""


def body_of(response: Response) -> Any:
    """Return the parsed JSON body of an answer."""
    return orjson.loads(response.body)


def test_an_answer_is_json_with_a_request_id() -> None:
    """Status, headers and body are the handler's. Every answer has a different request id."""
    first, second = answered(None), answered(None)
    assert (first.status_code, body_of(first), first.headers["x-more"]) == (201, {"fine": True}, "1")
    assert first.headers["content-type"] == "application/json"
    assert first.headers["x-request-id"].startswith("req_")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequest("No.", param="model", code="c"),
        errors.Unauthorized("No."),
        errors.NotFound("No."),
        errors.MethodNotAllowed("No."),
        errors.TooLarge("No."),
        errors.UnsupportedMediaType("No."),
        errors.RefusedByUpstream(errors.UpstreamRefused(422, "No.", code="c")),
        errors.Unavailable("No.", retry_after_s=5),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_service_error_is_answered_with_its_status_and_envelope(error: ServiceError) -> None:
    """The answer has a request id, and `Retry-After` if the error gives a time or is temporary."""
    response = answered(error)
    assert (response.status_code, body_of(response)) == (error.status, error.envelope())
    assert response.headers["x-request-id"]
    assert response.headers.get("retry-after") == (str(error.retry_after_s) if error.retry_after_s else None)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.StoreUnavailable(SECRET), 503),
        (errors.Conflict(SECRET), 503),
        (errors.StoreRefused(SECRET), 500),
        (errors.SettingsError(SECRET), 500),
        (errors.UpstreamUnavailable(SECRET), 500),
        (RuntimeError(SECRET), 500),
        (RecursionError(SECRET), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_internal_error_is_not_shown_in_the_answer(error: Exception, status: int, written: WrittenLines) -> None:
    """An error that the caller cannot fix is a 5xx without details. The log has the details."""
    response = answered(error)
    assert response.status_code == status
    assert body_of(response)["error"].keys() == {"message", "type", "param", "code"}
    assert SECRET not in str(body_of(response)) + str(response.headers)
    assert len(log_lines(written, "error")) == len(log_lines(written)) == 1
    assert response.headers["retry-after"] == "5"


def kinds_of(kind: type[ServiceError]) -> list[type[ServiceError]]:
    """Return a class of errors and all its subclasses, in whichever module they are."""
    return [kind, *(one for below in kind.__subclasses__() for one in kinds_of(below))]


def refusal(kind: type[ServiceError], status: int) -> ServiceError:
    """Return an error of a class. The upstream's own has this status."""
    if kind is errors.RefusedByUpstream:
        return kind(errors.UpstreamRefused(status, "No."))
    return kind("No.")


@given(st.sampled_from(kinds_of(ServiceError)), st.integers(400, 599), st.none() | st.integers(0, 10_000))
def test_every_5xx_and_429_says_when_to_try_again(kind: type[ServiceError], status: int, wait_s: int | None) -> None:
    """It has a `Retry-After` of at least a second, because a .NET client otherwise repeats the request at once.

    Any other error has one only if it gives a time.
    """
    error = refusal(kind, status)
    error.retry_after_s = wait_s
    response = answered(error)
    said = response.headers.get("retry-after")
    if response.status_code >= 500 or response.status_code == 429:
        assert said == str(wait_s or RETRY_AFTER_S)
        assert int(said) >= 1
    else:
        assert said == (str(wait_s) if wait_s else None)


@pytest.mark.parametrize("kind", kinds_of(ServiceError), ids=lambda kind: kind.__name__)
def test_only_a_refusal_that_no_retry_heals_says_so(kind: type[ServiceError]) -> None:
    """OpenAI's SDKs would repeat a 409, and a 429 about a spent quota. Of any other error it is not known."""
    said = answered(refusal(kind, 409)).headers.get("x-should-retry")
    assert said == ("false" if kind in (errors.RefusedByUpstream, RefusedByStorage) else None)


def test_the_sdk_of_openai_does_not_repeat_a_refusal() -> None:
    """It reads the header before the status."""
    for status in (409, 429):
        answer = answered(refusal(errors.RefusedByUpstream, status))
        sent: list[httpx.Request] = []

        def give(request: httpx.Request, sent: list[httpx.Request] = sent, answer: Response = answer) -> httpx.Response:
            sent.append(request)
            return httpx.Response(answer.status_code, content=answer.body, headers=dict(answer.headers))

        with httpx.Client(transport=httpx.MockTransport(give)) as http:
            sdk = openai.OpenAI(base_url="http://service/v1", api_key="k", max_retries=2, http_client=cast("Any", http))
            with pytest.raises(openai.APIStatusError):
                sdk.responses.create(model="m", input="q")
        assert len(sent) == 1


def test_every_class_of_errors_is_tried() -> None:
    """A new class is part of the test above without further work."""
    assert {errors.Unavailable, errors.Misconfigured, errors.RefusedByUpstream} < {*kinds_of(ServiceError)}


@pytest.mark.parametrize(
    "kind",
    [None, "application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json", "application/json ;"],
)
def test_a_json_body_is_read(kind: str | None) -> None:
    """The body is read however it is split into chunks. A request without a content type is read as JSON."""
    headers = {"content_type": kind} if kind else {}
    assert asyncio.run(read_json(request([b'{"a":', b"", b"1}"], **headers))) == b'{"a":1}'


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "json", "", "application/jsonp"])
def test_any_other_body_is_refused_unread(kind: str) -> None:
    """A body of another content type is refused by an error that names the header."""
    with pytest.raises(UnsupportedMediaType) as refused:
        asyncio.run(read_json(request([b"{}"], content_type=kind)))
    assert refused.value.param == "Content-Type"


@pytest.mark.parametrize("declared", [None, "0", str(MAX_BODY), "²", "-1", "0" * 5_000])
def test_a_body_at_the_limit_is_read_and_a_larger_one_is_refused(declared: str | None) -> None:
    """The 8 MiB are counted as they arrive, whatever length the client has declared."""
    headers = {"content_length": declared} if declared else {}
    whole = [bytes(MAX_BODY // 2)] * 2
    assert len(asyncio.run(read_json(request(whole, **headers)))) == MAX_BODY
    with pytest.raises(TooLarge):
        asyncio.run(read_json(request([*whole, b"x"], **headers)))


@pytest.mark.parametrize("declared", [str(MAX_BODY + 1), "9" * 5_000])
def test_a_body_that_is_declared_too_large_is_not_read(declared: str) -> None:
    """The request is refused before its first byte is read."""

    def unread() -> Iterable[bytes]:
        yield pytest.fail("the body was read")

    with pytest.raises(TooLarge):
        asyncio.run(read_json(request(unread(), content_length=declared)))


@pytest.mark.parametrize(("age_ms", "wait_s", "wait_ms"), [(0, 1, 1_000), (25_000, 3, 2_500), (3_600_000, 60, 60_000)])
def test_an_unfinished_response_has_a_retry_after(age_ms: int, wait_s: int, wait_ms: int) -> None:
    """The wait is given in whole seconds, rounded up, and in the milliseconds that the SDK's poll methods read."""
    record = Record(RECORD.id, "ann", created_ms=SystemClock().now_ms() - age_ms, deadline_ms=1)
    response = as_response((record, b"{}"), 202, {"Location": "/x"})
    assert (response.status_code, response.body, response.headers["location"]) == (202, b"{}", "/x")
    assert int(response.headers["retry-after"]) in (wait_s, wait_s + 1)
    assert abs(int(response.headers["openai-poll-after-ms"]) - wait_ms) < 100


def test_an_ended_response_has_no_retry_after() -> None:
    """An ended response does not change, so its answer has no polling hint."""
    ended = Record(RECORD.id, "ann", created_ms=0, deadline_ms=1, status=Status.COMPLETED)
    headers = as_response((ended, b"{}")).headers
    assert not {"retry-after", "openai-poll-after-ms"} & {*headers}


def test_a_client_that_disconnects_is_not_logged_as_an_error(written: WrittenLines) -> None:
    """An upload that breaks off is answered with 400 and logged as information."""
    assert answered(ClientDisconnect()).status_code == 400
    assert log_events(written) == log_events(written, "info") == ["request.abandoned"]


@pytest.mark.parametrize(
    ("raised", "by"),
    [(ValueError("x"), ValueError), (StreamBroken(), StreamBroken), (ClientDisconnect(), None), (None, None)],
)
def test_a_stream_reports_how_it_ended(raised: Exception | None, by: type[Exception] | None) -> None:
    """A stream that broke is reported with its exception. A client that has left is not a failure."""
    ends: list[object] = []
    stream = EventStream(cast("Stream", Broken(raised)))
    stream.until_sent.push(lambda kind, _error, _at: ends.append(kind))

    async def receive() -> Any:
        await asyncio.Event().wait()

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(stream({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send))
    assert ends == [by]
    is_clean = not sent[-1].get("more_body", True)
    assert is_clean == (raised is None)  # a clean end would look like the whole answer


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress), ("identity", bytes)]
)
def test_a_compressed_body_is_read(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """The limit of 8 MiB is for what is sent and for what that unpacks to."""
    text = b'{"model": "m"}'
    assert asyncio.run(read_json(request([pack(text)], content_encoding=encoding))) == text
    with pytest.raises(TooLarge):
        asyncio.run(read_json(request([pack(bytes(MAX_BODY + 1))], content_encoding=encoding)))


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_a_body_in_another_encoding_is_refused(encoding: str) -> None:
    """It would be reported as broken JSON."""
    with pytest.raises(UnsupportedMediaType):
        asyncio.run(read_json(request([b"{}"], content_encoding=encoding)))
