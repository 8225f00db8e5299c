"""The shape of a create: an upstream that refuses to stream gets it once more without, and that is remembered.

A foreground upstream is asked for a stream also if no caller was. A background one refuses a stream that a caller asked
for if it streams no work in the background.
"""

from contextlib import aclosing
from typing import Any

import httpx
import orjson
import pytest

from shared.core.errors import UpstreamFailed, UpstreamRefused, UpstreamUncertain
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.protocol import UpstreamEvent
from shared.upstreams.responses_api import BackgroundResponses, ForegroundResponses
from tests.support.log_capture import WrittenLines, log_events
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
        transport = httpx.MockTransport(self._answer)
        self.upstream = ForegroundResponses(Endpoint(transport, "https://model.example.com/v1", no_headers))
        self.background = BackgroundResponses(Endpoint(transport, "https://model.example.com/v1", no_headers))

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

    async def told_in_background(self, request: dict[str, Any]) -> list[UpstreamEvent]:
        """Return the events of one create in the background."""
        async with aclosing(self.background.stream(request, "resp_1")) as events:
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


async def test_what_is_learned_counts_for_the_model() -> None:
    """A gateway has many upstreams behind it, so another model is asked for a stream first."""
    server = Server(REFUSAL)
    for model in ("m", "n", "m", "n"):
        await server.told({**PLAIN, "model": model})
    assert [one["stream"] for one in server.sent] == [True, False, True, False, False, False]


# Background mode

UNFINISHED = {**WHOLE, "status": "queued"}
IN_BACKGROUND = {**STREAMED, "background": True, "stream_options": {"include_obfuscation": False}}


@pytest.mark.parametrize(
    "streamed",
    [
        (400, {"error": {"message": "Cannot use both 'stream' and 'background'."}}),
        (400, {"detail": "stream=True is not allowed with background=True"}),
        (422, {"detail": [{"loc": ["body", "stream"], "msg": "Must be false for background work."}]}),
        (400, {"error": {"message": "Background responses do not support streaming", "type": "invalid_request"}}),
        (501, {"error": {"message": "Not implemented."}}),
    ],
)
async def test_a_stream_that_is_refused_in_the_background_is_started_without(streamed: Told) -> None:
    """The caller's stream is then made from what polls show. `stream_options` means nothing without a stream."""
    server = Server(streamed, (200, UNFINISHED))
    for _ in range(2):
        (event,) = await server.told_in_background(IN_BACKGROUND)
        assert (event.is_whole, event.response_id) == (True, "up_1")
    assert [one["stream"] for one in server.sent] == [True, False, False]
    assert server.sent[1] == {"model": "m", "stream": False, "background": True}


@pytest.mark.parametrize(
    ("body", "is_logged"),
    [
        ({"error": {"message": "Unknown parameter.", "param": "background"}}, True),
        ({"detail": [{"loc": ["body", "background"], "msg": "Extra inputs are not permitted"}]}, True),
        ({"error": {"message": "No such model.", "param": "model"}}, False),
    ],
)
async def test_a_refusal_of_the_background_is_the_callers_and_names_a_remedy_for_the_operator(
    written: WrittenLines, body: object, is_logged: bool
) -> None:
    """Every create is refused so, and only a setting can change that."""
    server = Server((400, body), (400, body))
    with pytest.raises(UpstreamRefused, match="400"):
        await server.told_in_background(IN_BACKGROUND)
    with pytest.raises(UpstreamRefused, match="400"):
        await server.background.start({**IN_BACKGROUND, "stream": False}, "resp_1")
    assert [one["stream"] for one in server.sent] == [True, False]
    assert log_events(written) == ["upstream.background_refused"] * 2 * is_logged
    assert ("UPSTREAM_MODE=foreground" in written.text) == is_logged
