"""Details of the HTTP contract: what a response object repeats of its request, and how requests are refused."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import httpx
import orjson
import pytest
from azurefunctions.extensions.http.fastapi import Request

from functions import http
from shared.contract import callers
from shared.contract.callers import Caller
from shared.contract.requests import MAX_ITEMS, parse_request
from shared.core.alarms import Kind
from shared.core.errors import BadRequest, RefusedByUpstream, SettingsError, UpstreamRefused, UpstreamUnavailable
from shared.core.states import Status
from shared.engine import Engine
from shared.upstreams.protocol import Upstreams
from shared.upstreams.responses_api import BackgroundResponses
from tests.support.stage import ANN, CALLBACK_URL, Stage

OUTAGE = UpstreamUnavailable("ConnectError")
REFUSAL = UpstreamRefused(400, "No such model.", code="model_not_found")
ASKED: dict[str, Any] = {
    "instructions": "be brief",
    "temperature": 0.2,
    "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}],
}


def request(method: str, path: str, query: str = "", **path_params: str) -> Request:
    """Return a request without a body, as the platform passes it to a function."""
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": []}
    return Request(scope | {"path_params": path_params})


def repeated(shown: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a response object that repeats the request."""
    return {name: shown[name] for name in ASKED}


# What a response repeats of its request


async def test_the_requests_fields_are_shown_before_the_upstream_accepts(stage: Stage) -> None:
    """A response repeats its request's fields before its upstream accepts it, in the first and every later answer."""
    stage.upstream.start_errors = [OUTAGE]
    body = orjson.dumps({"model": "m", "input": "question", "background": True, **ASKED})
    made, first = await stage.engine.create(ANN, parse_request(body), None, None)
    for shown in (orjson.loads(first), await stage.shown(made.id)):
        assert (shown["status"], repeated(shown)) == ("queued", ASKED)


async def cancelled(stage: Stage, response_id: str) -> None:
    """Cancel a response."""
    await stage.engine.cancel(ANN, response_id)


async def refused(stage: Stage, response_id: str) -> None:
    """Let the upstream refuse a response when it is started again."""
    stage.upstream.start_errors = [REFUSAL]
    await stage.finish(response_id)


async def overdue(stage: Stage, response_id: str) -> None:
    """Let the deadline of a response pass."""
    stage.upstream.start_errors = [OUTAGE] * 100
    await stage.finish(response_id)


@pytest.mark.parametrize("end", [cancelled, refused, overdue])
async def test_the_requests_fields_are_shown_after_an_end_without_an_answer(
    stage: Stage, end: Callable[[Stage, str], Awaitable[None]]
) -> None:
    """A response that its upstream never accepted repeats the request's fields however it ends.

    The object and the event of its callback both show them.
    """
    stage.limit(deadline_ms=60_000)
    stage.upstream.start_errors = [OUTAGE]
    made = await stage.create(callback_url=CALLBACK_URL, **ASKED)
    await end(stage, made.id)
    shown = await stage.shown(made.id)
    assert Status(shown["status"]).is_terminal
    assert repeated(shown) == ASKED
    await stage.deliver()
    (post,) = stage.receiver.posts
    assert orjson.loads(post.body)["data"] == shown


@pytest.mark.parametrize("end", [cancelled, overdue])
async def test_fields_too_large_for_the_record_are_shown_too(
    stage: Stage, end: Callable[[Stage, str], Awaitable[None]]
) -> None:
    """Fields that are too large for the record are read from the request, before and after the response's end."""
    stage.limit(deadline_ms=60_000)
    stage.upstream.course = [Status.IN_PROGRESS]
    instructions = random.Random(1).randbytes(70_000).hex()
    made = await stage.create(instructions=instructions)
    assert (await stage.shown(made.id))["instructions"] == instructions
    await end(stage, made.id)
    shown = await stage.shown(made.id)
    assert Status(shown["status"]).is_terminal
    assert shown["instructions"] == instructions


# A first answer that is not a response object


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b'"queued"',
        b"{}",
        b'{"id":"up_1"}',
        b'{"status":"queued"}',
        b'{"id":1,"status":"queued"}',
    ],
)
async def test_a_success_without_a_response_object_fails_the_response(stage: Stage, content: bytes) -> None:
    """A 200 without a response object fails the response with `upstream_invalid`.

    The work may have begun and cost money, so it is not started again.
    """
    starts = 0

    async def answer(_: httpx.Request) -> httpx.Response:
        nonlocal starts
        starts += 1
        return httpx.Response(200, content=content)

    async def no_headers() -> dict[str, str]:
        return {}

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        upstream = BackgroundResponses(client, "https://model.example.com/v1", no_headers)
        stage.engine = Engine(replace(stage.ports, upstreams=Upstreams(upstream)))
        made = await stage.create()
        assert made.status is Status.FAILED
        assert (await stage.shown(made.id))["error"]["code"] == "upstream_invalid"
    assert await stage.kinds(made.id) == [Kind.PURGE]
    assert starts == 1


# Streams


@pytest.mark.parametrize(("background", "flag"), [(False, "background"), (True, "stream")])
async def test_a_response_not_created_as_a_stream_is_not_streamed(stage: Stage, background: bool, flag: str) -> None:
    """The refusal to stream names the flag that was missing at creation. The upstream is not polled."""
    body = orjson.dumps({"model": "m", "input": "question", "background": background})
    made, _ = await stage.engine.create(ANN, parse_request(body), None, 0)
    with pytest.raises(BadRequest) as refused:
        await http.retrieve(stage.engine, ANN, request("GET", "/", "stream=true", id=made.id))
    assert refused.value.message == f"This response cannot be streamed because it was not created with {flag}=true."
    assert refused.value.param == "stream"
    assert stage.upstream.polls == 0


# Idempotent repeats


async def test_a_repeat_succeeds_after_its_previous_response_was_deleted(stage: Stage) -> None:
    """A repeat of a request returns the same response, even if the previous response has been deleted since."""
    previous = await stage.ended()
    first = await stage.create(key="k", previous_response_id=previous.id)
    await stage.engine.delete(ANN, previous.id)
    assert await stage.create(key="k", previous_response_id=previous.id) == first
    assert stage.upstream.starts[first.id] == 1


async def test_a_repeat_succeeds_after_its_callback_host_was_barred(stage: Stage) -> None:
    """A repeat returns the same response after the callback's host has left the allow-list.

    A new request is refused.
    """
    allowed = Caller("ann", (), ANN.secrets, ("hooks.contoso.com",))
    barred = Caller("ann", (), ANN.secrets, ("fabrikam.com",))
    first = await stage.create(allowed, key="k", callback_url=CALLBACK_URL)
    assert await stage.create(barred, key="k", callback_url=CALLBACK_URL) == first
    with pytest.raises(BadRequest):
        await stage.create(barred, key="other", callback_url=CALLBACK_URL)
    assert stage.upstream.starts == {first.id: 1}


async def test_a_repeat_does_not_restore_a_deleted_response(stage: Stage) -> None:
    """If a response and its previous one are both deleted, a repeat is refused and shows nothing of the response."""
    previous = await stage.ended()
    first = await stage.ended(key="k", previous_response_id=previous.id)
    for one in (previous, first):
        await stage.engine.delete(ANN, one.id)
    with pytest.raises(BadRequest) as refused:
        await stage.create(key="k", previous_response_id=previous.id)
    assert refused.value.param == "Idempotency-Key"


# Refusals


def test_a_key_belongs_to_one_caller() -> None:
    """The settings must not give the same key digest to two callers. The error does not show the digest."""
    digest = sha256(b"key").hexdigest()
    text = orjson.dumps([{"name": name, "keys": [digest]} for name in ("ann", "bob")]).decode()
    with pytest.raises(SettingsError, match="CALLERS has the same key twice") as refused:
        callers.parse_callers(text)
    assert digest not in str(refused.value)


def test_an_input_has_at_most_ten_thousand_items() -> None:
    """An input of 10,000 items is accepted. One of 10,001 is refused, and the error names the field."""
    assert MAX_ITEMS == 10_000
    parse_request(orjson.dumps({"model": "m", "input": [{}] * MAX_ITEMS}))
    with pytest.raises(BadRequest) as refused:
        parse_request(orjson.dumps({"model": "m", "input": [{}] * (MAX_ITEMS + 1)}))
    assert refused.value.param == "input"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/openai/v1/responses", "POST"),
        ("/v1/responses/resp_1", "DELETE, GET"),
        ("/openai/responses/resp_1/cancel", "POST"),
        ("/health/live", "GET"),
    ],
)
def test_a_405_names_the_allowed_methods(path: str, allowed: str) -> None:
    """A 405 names the allowed methods in its Allow header, as RFC 9110 demands, and in the error's message."""
    answer = asyncio.run(http.unmatched(request("PATCH", path)))
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert orjson.loads(answer.body)["error"]["message"] == f"PATCH is not allowed here; allowed: {allowed}."


async def test_a_refusal_names_the_previous_response_by_our_id(stage: Stage) -> None:
    """When the upstream's refusal names the previous response, its id is replaced by the one that the caller knows."""
    first = await stage.ended()
    theirs = str((await stage.record(first.id)).upstream.id)
    stage.upstream.start_errors = [UpstreamRefused(400, f"Previous response with id '{theirs}' has not finished.")]
    with pytest.raises(RefusedByUpstream) as refused:
        await stage.create(previous_response_id=first.id)
    assert refused.value.message == f"Previous response with id '{first.id}' has not finished."
