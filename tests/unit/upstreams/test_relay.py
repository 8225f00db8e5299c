"""The relay: calls are passed on as they are, and whatever goes wrong is an error of the upstream."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from shared.core.errors import (
    UpstreamError,
    UpstreamInvalid,
    UpstreamOversized,
    UpstreamRefused,
    UpstreamUnavailable,
    UpstreamUncertain,
)
from shared.core.states import WaitReason
from shared.upstreams import answers
from shared.upstreams.answers import MAX_ANSWER
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.relay import HttpRelay

DEEP = b'{"error":' * 1_000 + b"1" + b"}" * 1_000
BASE = "https://model.example.com/v1/"
Handler = Callable[[httpx.Request], httpx.Response]


async def with_key() -> dict[str, str]:
    """Return the header of a key."""
    return {"Authorization": "Bearer sk-1"}


def asked(handler: Handler, method: str = "POST", path: str = "/x", body: dict[str, Any] | None = None) -> Any:
    """Pass one call on to an upstream that this handler simulates."""
    return asyncio.run(HttpRelay(Endpoint(httpx.MockTransport(handler), BASE, with_key)).ask(method, path, body))


def answering(status: int, content: bytes) -> Handler:
    """Return an upstream that always answers this."""
    return lambda _: httpx.Response(status, content=content)


def test_a_call_is_passed_on() -> None:
    """Its method, path, query and body are kept, and its credentials are ours."""
    seen: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"n": 12345678901234567890123, "t": "é"})

    answer = asked(note, "POST", "/conversations/a%2Fb/items?limit=2", {"items": []})
    assert orjson.dumps(answer) == '{"n":12345678901234567890123,"t":"é"}'.encode()
    (request,) = seen
    assert (request.method, str(request.url)) == (
        "POST",
        "https://model.example.com/v1/conversations/a%2Fb/items?limit=2",
    )
    assert request.content == b'{"items":[]}'
    assert request.headers["authorization"] == "Bearer sk-1"


def test_a_call_without_a_body_has_none() -> None:
    """An empty object is a body."""
    contents: list[bytes] = []

    def note(request: httpx.Request) -> httpx.Response:
        contents.append(request.content)
        return httpx.Response(200, json={})

    asked(note, "GET")
    asked(note, "POST", body={})
    assert contents == [b"", b"{}"]


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_a_refusal_keeps_its_words(status: int) -> None:
    """A 404 of a conversation is one of the caller's request, too."""
    error = b'{"error": {"message": "No.", "type": "t", "param": "p", "code": "c"}}'
    with pytest.raises(UpstreamRefused) as refused:
        asked(answering(status, error))
    assert (refused.value.status, refused.value.message, refused.value.param) == (status, "No.", "p")


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (401, b"{}", UpstreamUnavailable),
        (429, b"{}", UpstreamUnavailable),
        (500, b"{}", UpstreamUncertain),
        (503, b"", UpstreamUnavailable),
        *((status, DEEP, UpstreamUnavailable) for status in (401, 429, 500, 503)),
        *((status, DEEP, UpstreamRefused) for status in (400, 404)),
        (200, b"", UpstreamInvalid),
        (200, b"[]", UpstreamInvalid),
        (200, b"<html>", UpstreamInvalid),
        (200, b"x" * (MAX_ANSWER + 1), UpstreamOversized),
        (200, b'{"data":[' + b"[]," * 500_000 + b"0]}", UpstreamOversized),
        (200, b'{"data":' + b"[" * 201 + b"]" * 201 + b"}", UpstreamOversized),
    ],
)
def test_anything_else_is_an_error_of_the_upstream(status: int, content: bytes, kind: type[UpstreamError]) -> None:
    """Its caller may try again."""
    with pytest.raises(kind):
        asked(answering(status, content))


@pytest.mark.parametrize("error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), TimeoutError()])
def test_an_upstream_that_does_not_answer_is_an_error(error: Exception) -> None:
    """The text names nothing of the network."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(UpstreamUnavailable) as unavailable:
        asked(fail)
    assert "model.example.com" not in str(unavailable.value)


def test_a_call_without_a_credential_is_not_sent() -> None:
    """Whatever the credential raises, the caller hears that the upstream cannot be asked."""

    async def without_key() -> dict[str, str]:
        raise RuntimeError("no identity")

    with pytest.raises(UpstreamUnavailable, match="no credential") as raised:
        asyncio.run(HttpRelay(Endpoint(httpx.MockTransport(answering(200, b"{}")), BASE, without_key)).ask("GET", "/x"))
    assert raised.value.waits_for is WaitReason.CREDENTIALS


def test_a_full_pool_of_our_own_is_no_trouble_of_the_upstream() -> None:
    """The call is tried again, and nothing says that the upstream is down."""
    for error, waits_for in ((httpx.PoolTimeout(""), None), (httpx.ConnectTimeout(""), WaitReason.UPSTREAM_DOWN)):
        found = answers.trouble(error)
        assert (type(found), found.waits_for) == (UpstreamUnavailable, waits_for)
