"""The Responses API as a client of it: what each answer of an upstream means.

A function replaces httpx's transport under the real client. Network failures are in test_responses_api_wire.py.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import orjson
import pytest

from shared.core import errors
from shared.core.errors import UpstreamError, UpstreamMissing, UpstreamOversized, UpstreamRefused, UpstreamUnavailable
from shared.core.states import Status
from shared.upstreams.answers import MAX_ANSWER
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.protocol import Authorize, Progress
from shared.upstreams.responses_api import BackgroundResponses
from tests.support.log_capture import WrittenLines, log_events

BASE, KEY = "https://model.example.com/v1", "sk-geheim-0123456789"
CREATED = {"id": "up_1", "object": "response", "status": "queued"}
Handler = Callable[[httpx.Request], httpx.Response]
Call = Callable[[BackgroundResponses], Awaitable[Any]]


async def with_key() -> Mapping[str, str]:
    """Return the authorization header of a key."""
    return {"Authorization": f"Bearer {KEY}"}


def asked(call: Call, handler: Handler, authorize: Authorize = with_key, base: str = BASE) -> Any:
    """Make one call to an upstream that this handler simulates, and return its result."""

    async def main() -> Any:
        upstream = BackgroundResponses(Endpoint(httpx.MockTransport(handler), base, authorize))
        try:
            return await call(upstream)
        finally:
            await upstream.aclose()

    return asyncio.run(main())


def answering(status: int = 200, body: object = CREATED, **headers: str) -> Handler:
    """Return an upstream that always gives this answer."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(status, content=content, headers=named)


def start(upstream: BackgroundResponses) -> Awaitable[Progress]:
    """Start some work."""
    return upstream.start({"model": "m"}, "resp_1")


def poll(upstream: BackgroundResponses) -> Awaitable[Progress]:
    """Poll the work."""
    return upstream.poll("up_1")


def stop(upstream: BackgroundResponses) -> Awaitable[None]:
    """Stop the work."""
    return upstream.stop("up_1")


def forget(upstream: BackgroundResponses) -> Awaitable[None]:
    """Delete the work."""
    return upstream.forget("up_1")


CALLS = [start, poll, stop, forget]
every_call = pytest.mark.parametrize("call", CALLS)
every_step = pytest.mark.parametrize("call", [start, poll])


@pytest.mark.parametrize(
    ("call", "method", "path", "key", "body"),
    [
        (start, "POST", "/v1/responses", "resp_1", b'{"model":"m"}'),
        (poll, "GET", "/v1/responses/up_1", None, b""),
        (stop, "POST", "/v1/responses/up_1/cancel", None, b""),
        (forget, "DELETE", "/v1/responses/up_1", None, b""),
    ],
)
def test_each_call_has_the_contracts_form(call: Call, method: str, path: str, key: str | None, body: bytes) -> None:
    """Method, path and credentials are those of the contract. A create has our id as its idempotency key."""
    seen: list[httpx.Request] = []

    def record(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=CREATED)

    asked(call, record, base=f"{BASE}/")
    (request,) = seen
    assert (request.method, request.url.path, request.content) == (method, path, body)
    assert request.headers.get("idempotency-key") == key
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers.get("content-type") == ("application/json" if body else None)


def test_no_cookie_of_an_answer_is_sent_again() -> None:
    """A gateway may set one that leads every later call to the same of its servers, whoever makes it."""
    seen: list[httpx.Request] = []

    def record(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=CREATED, headers={"set-cookie": "affinity=server-1; Path=/"})

    async def twice(upstream: BackgroundResponses) -> None:
        await start(upstream)
        await poll(upstream)

    asked(twice, record)
    assert [request.headers.get("cookie") for request in seen] == [None, None]


@pytest.mark.parametrize("token", ["a/b", "a?b=c", "a#b", "a b", "a\nb", "ä/../b", "%2e%2e"])
def test_a_token_is_one_segment_of_the_path(token: str) -> None:
    """An upstream's id is encoded, so it cannot address another path of the upstream."""
    seen: list[bytes] = []

    def record(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return httpx.Response(200, json=CREATED)

    asked(lambda upstream: upstream.poll(token), record)
    (path,) = seen
    assert path.startswith(b"/v1/responses/")
    assert not set(path.removeprefix(b"/v1/responses/")) & set(b"/?# \n")
    assert httpx.URL(BASE).copy_with(raw_path=path).path == f"/v1/responses/{token}"


@every_step
@pytest.mark.parametrize("status", Status)
def test_an_answer_gives_status_token_and_id(call: Call, status: Status) -> None:
    """The token is the upstream's id. A terminal answer has no token, and still has the id."""
    body = {**CREATED, "status": status, "output": [], "unknown": 1}
    assert asked(call, answering(body=body)) == Progress(status, None if status.is_terminal else "up_1", body, "up_1")


@every_step
@pytest.mark.parametrize("status", [200, 201, 202])
def test_any_2xx_is_an_answer(call: Call, status: int) -> None:
    """Some servers answer background work with 202."""
    assert asked(call, answering(status)).token == "up_1"


@every_step
def test_an_answer_may_ask_for_a_later_poll(call: Call) -> None:
    """The Retry-After header of an answer is part of the result."""
    assert asked(call, answering(retry_after="7")).retry_after_s == 7.0


@every_step
@pytest.mark.parametrize("body", [b"<html>", {"id": "up_1", "status": "cancelling"}], ids=["page", "status"])
def test_an_answer_that_is_not_a_response_object_is_invalid(call: Call, body: object) -> None:
    """A proxy's page and an unknown status are no progress. test_answers.py has every other body."""
    with pytest.raises(errors.UpstreamInvalid):
        asked(call, answering(body=body))


TEMPORARY = [401, 408, 425, 429, 500, 502, 503, 504, 529]
TOLD = [301, 302, 402, 403, 409, 410, 424, 501]


@pytest.mark.parametrize("status", TOLD)
def test_a_create_that_no_retry_heals_is_refused(status: int) -> None:
    """A redirect, a bill, a conflict or a failed tool server stays as it is, so the words of the answer are an end."""
    error = {"message": "No.", "type": "external_connector_error", "param": "tools", "code": "http_error"}
    with pytest.raises(UpstreamRefused) as refused:
        asked(start, answering(status, {"error": error}, location=f"{BASE}/elsewhere"))
    found = refused.value
    assert (found.status, found.message, found.param, found.code, found.type) == (
        status,
        *("No.", "tools", "http_error", "external_connector_error"),
    )


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (call, status)
        for call in CALLS
        for status in TEMPORARY + [one for one in TOLD if call is not start and one in (402, 403, 424)]
    ],
)
def test_a_temporary_failure_is_unavailable(call: Call, status: int) -> None:
    """Overload and server errors are not the fault of the request. Work that exists is asked for again in any case."""
    with pytest.raises(UpstreamUnavailable, match=f"^status {status}$") as unavailable:
        asked(call, answering(status, {"error": {"message": KEY}}, retry_after="30", location=f"{BASE}/elsewhere"))
    assert unavailable.value.retry_after_s == 30.0


@pytest.mark.parametrize("status", [400, 404, 405, 413, 415, 422])
def test_a_refused_create_has_the_upstreams_message(status: int) -> None:
    """A 4xx about the request would come again, so its message, param and code are passed on."""
    error = {"message": "No such model.", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    with pytest.raises(UpstreamRefused) as refused:
        asked(start, answering(status, {"error": error}))
    found = refused.value
    assert (found.status, found.message, found.param, found.code) == (
        status,
        "No such model.",
        "model",
        "model_not_found",
    )


def test_a_404_of_a_created_response_is_missing() -> None:
    """Azure may answer 404 right after a create. The code that polls decides how long it accepts that."""
    with pytest.raises(UpstreamMissing):
        asked(poll, answering(404, {"error": {"message": "not found"}}))


@pytest.mark.parametrize("call", [stop, forget])
@pytest.mark.parametrize("status", [200, 202, 204, 400, 404])
@pytest.mark.parametrize("body", [b"", b"gone", {**CREATED, "status": "completed"}], ids=range(3))
def test_a_stop_is_confirmed_by_any_answer_about_it(call: Call, status: int, body: object) -> None:
    """After a success, a 404, or a 400 because the work has just ended, there is nothing left to stop."""
    assert asked(call, answering(status, body)) is None


@pytest.mark.parametrize("status", [405, 410, 422, 501])
def test_a_stop_that_the_upstream_does_not_know_is_not_repeated(status: int) -> None:
    """A server without a way to cancel says so with one of these."""
    assert asked(stop, answering(status, {"detail": "Not implemented"})) is None


def test_a_stop_that_is_refused_at_this_moment_is_told() -> None:
    """A 409 may be a lock of a moment, so the code that stops asks a few times more."""
    with pytest.raises(UpstreamRefused) as refused:
        asked(stop, answering(409, {"detail": "only background responses can be cancelled"}))
    assert refused.value.status == 409
    with pytest.raises(UpstreamUnavailable):
        asked(stop, answering(503))


@every_call
def test_an_answer_over_the_limit_is_not_read_to_its_end(call: Call) -> None:
    """Reading stops after the chunk that exceeds 32 MiB, so memory is bounded."""
    sent = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            nonlocal sent
            while sent < 4 * MAX_ANSWER:
                sent += 1_048_576
                yield bytes(1_048_576)

    with pytest.raises(UpstreamOversized):
        asked(call, lambda _: httpx.Response(200, stream=Endless()))
    assert sent == MAX_ANSWER + 1_048_576


@every_call
def test_without_a_credential_nothing_is_sent(call: Call) -> None:
    """If the credential provider raises, the upstream is unavailable. The provider's message is not shown."""

    async def broken() -> Mapping[str, str]:
        raise RuntimeError(KEY)

    with pytest.raises(UpstreamUnavailable, match=r"^no credential for the upstream$"):
        asked(call, lambda _: pytest.fail("a request was sent"), broken)


def test_check_asks_for_a_credential_only() -> None:
    """A readiness check sends no request to the upstream."""
    asked(lambda upstream: upstream.check(), lambda _: pytest.fail("a request was sent"))


def raised(call: Call, handler: Handler) -> UpstreamError | None:
    """Return the error of a call, or None."""
    try:
        asked(call, handler)
    except UpstreamError as error:
        return error
    return None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
@every_call
def test_no_error_and_no_log_shows_the_credential(call: Call, status: int, written: WrittenLines) -> None:
    """The key is hidden even if the upstream repeats it, as OpenAI does in part."""
    error = raised(call, answering(status, {"error": {"type": KEY}}))
    assert KEY not in f"{error!s} {error!r} {vars(error) if error else error}"
    assert KEY not in written.text
    told = [event for event in log_events(written) if event != "upstream.create_refused"]
    assert told == ["upstream.credentials_refused"] * (status in (401, 403))
