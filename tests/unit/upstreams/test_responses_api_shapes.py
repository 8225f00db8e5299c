"""A stream that no caller asked for: an upstream that refuses it gets the request once more, as the caller sent it."""

from contextlib import aclosing
from typing import Any

import httpx
import orjson
import pytest

from shared.core.errors import UpstreamFailed, UpstreamRefused, UpstreamUncertain
from shared.upstreams.protocol import UpstreamEvent
from shared.upstreams.responses_api import ForegroundResponses
from tests.unit.upstreams.agents.test_tools import MemoryCheckpoints

WHOLE = {"id": "up_1", "object": "response", "status": "completed", "output": []}
PLAIN: dict[str, Any] = {"model": "m", "stream": False}
STREAMED: dict[str, Any] = {"model": "m", "stream": True}
REFUSAL = (400, {"error": {"message": "Streaming is not supported.", "param": "stream", "code": "unsupported"}})
NO_MODEL = (404, {"error": {"message": "No such model.", "param": "model", "code": "model_not_found"}})
Told = tuple[int, object]


async def no_headers() -> dict[str, str]:
    """Return no headers."""
    return {}


class Server:
    """A server that gives one answer to creates with `stream: true`, and another one to the rest."""

    def __init__(self, streamed: Told, plain: Told = (200, WHOLE)) -> None:
        self.sent: list[dict[str, Any]] = []
        self._answers = {True: streamed, False: plain}
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.upstream = ForegroundResponses(client, "https://model.example.com/v1", no_headers)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(orjson.loads(request.content))
        status, body = self._answers[self.sent[-1]["stream"]]
        if isinstance(body, str):
            return httpx.Response(status, text=body, headers={"Content-Type": "text/event-stream"})
        return httpx.Response(status, json=body)

    async def told(self, request: dict[str, Any]) -> list[UpstreamEvent]:
        """Return the events of one call."""
        async with aclosing(self.upstream.stream(request, "resp_1", MemoryCheckpoints())) as events:
            return [event async for event in events]


@pytest.mark.parametrize(
    "streamed",
    [
        REFUSAL,
        (501, {}),
        (406, {}),
        (500, {"error": {"message": "'async for' requires an object with __aiter__ method"}}),
        (200, {"error": {"message": "stream and background exclude each other"}}),
        (200, 'data: {"error": {"message": "This model cannot stream.", "code": "500"}}\n\n'),
    ],
    ids=["400", "501", "406", "500", "200", "event"],
)
async def test_a_refused_stream_is_sent_as_the_caller_asked_and_that_is_remembered(streamed: Told) -> None:
    """The second request has the caller's own shape. Later requests of this process have it at once."""
    server = Server(streamed)
    for _ in range(2):
        (event,) = await server.told(PLAIN)
        assert (event.is_whole, event.data["response"]) == (True, WHOLE)
    assert [one["stream"] for one in server.sent] == [True, False, False]
    assert server.sent[1] == PLAIN


async def test_a_caller_who_asked_for_a_stream_gets_the_refusal() -> None:
    """There is no other shape to ask for, also after a plain request has been sent in its own."""
    server = Server(REFUSAL)
    await server.told(PLAIN)
    with pytest.raises(UpstreamRefused, match="400"):
        await server.told(STREAMED)
    assert [one["stream"] for one in server.sent] == [True, False, True]


@pytest.mark.parametrize("streamed", [NO_MODEL, (400, {}), (502, {}), (200, {"error": {"message": "Upstream error."}})])
async def test_another_error_is_not_asked_for_twice(streamed: Told) -> None:
    """A request that is refused for its own sake is sent once."""
    server = Server(streamed)
    with pytest.raises((UpstreamRefused, UpstreamUncertain, UpstreamFailed)):
        await server.told(PLAIN)
    assert len(server.sent) == 1


async def test_a_request_that_is_refused_in_both_shapes_teaches_nothing() -> None:
    """The caller gets the refusal of its own request, and the next request is streamed again."""
    server = Server(REFUSAL, NO_MODEL)
    for _ in range(2):
        with pytest.raises(UpstreamRefused) as refused:
            await server.told(PLAIN)
        assert refused.value.code == "model_not_found"
    assert [one["stream"] for one in server.sent] == [True, False] * 2


async def test_an_upstream_that_streams_is_asked_once() -> None:
    """The stream of an upstream that accepts it is used for every call, and an error in it is no refusal of streams."""
    created = {"type": "response.created", "response": {**WHOLE, "status": "in_progress"}}
    frames = [created, {"error": {"message": "the stream was cut"}}]
    server = Server((200, "".join(f"data: {orjson.dumps(one).decode()}\n\n" for one in frames)))
    with pytest.raises(UpstreamFailed):
        await server.told(PLAIN)
    assert [one["stream"] for one in server.sent] == [True]
