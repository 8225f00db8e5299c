"""Large answers and requests of an upstream: their JSON is read and written in a thread, and the loop serves others."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from shared.contract.upstream_errors import ReportedError, error_in_answer
from shared.off_loop import LARGE
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.responses_api import BackgroundResponses
from tests.support.threads import counted_threads

TEXT = "x" * LARGE
SMALL_TEXT = "x" * (LARGE // 2)


async def authorize() -> dict[str, str]:
    """Return no headers."""
    return {}


def upstream_with(content: bytes) -> BackgroundResponses:
    """Return an upstream that always answers this."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=content))
    return BackgroundResponses(Endpoint(transport, "https://model.example.com/v1", authorize))


def answer(text: str) -> dict[str, Any]:
    """Return a finished response with an output of this text."""
    return {"id": "up_1", "status": "completed", "output": [{"type": "message", "content": [{"text": text}]}]}


@pytest.mark.parametrize(("text", "count"), [(TEXT, 1), (SMALL_TEXT, 0)])
def test_a_large_answer_is_read_in_a_thread(text: str, count: int) -> None:
    """A poll and a start read theirs alike."""

    async def main() -> None:
        upstream = upstream_with(orjson.dumps(answer(text)))
        for call in (upstream.poll("up_1"), upstream.start({"model": "m"}, "resp_1")):
            with counted_threads() as threads:
                progress = await call
            assert (progress.answer["output"], threads.count) == (answer(text)["output"], count)

    asyncio.run(main())


@pytest.mark.parametrize(("text", "count"), [(TEXT, 1), (SMALL_TEXT, 0)])
def test_a_large_request_is_written_in_a_thread(text: str, count: int) -> None:
    """It is sent as it is written on the loop."""

    async def main() -> None:
        upstream = upstream_with(orjson.dumps(answer("")))
        with counted_threads() as threads:
            await upstream.start({"model": "m", "input": text}, "resp_1")
        assert threads.count == count

    asyncio.run(main())


@pytest.mark.parametrize(("text", "count"), [(TEXT, 1), (SMALL_TEXT, 0)])
@pytest.mark.parametrize("is_stream", [True, False])
def test_a_large_event_is_read_in_a_thread(text: str, count: int, is_stream: bool) -> None:
    """So is a whole answer to a call that asked for a stream. The small events beside it are not."""
    whole = orjson.dumps(answer(text))
    story = b'data: {"type": "response.created", "response": {"id": "up_1", "status": "queued"}}\n\n'
    story += b'data: {"type": "response.completed", "response": %b}\n\n' % whole

    async def main() -> None:
        upstream = upstream_with(story if is_stream else whole)
        with counted_threads() as threads:
            events = [event async for event in upstream.stream({"model": "m", "stream": True}, "resp_1")]
        assert (events[-1].data["response"]["output"], threads.count) == (answer(text)["output"], count)

    asyncio.run(main())


def test_an_answer_of_a_million_values_is_not_read() -> None:
    """It would hold up everybody, and no error has so many."""
    said = b'{"error": {"message": "No.", "details": [%b0]}}'
    assert error_in_answer(said % (b"[]," * 400_000)) == ReportedError("No.")
    assert error_in_answer(said % (b"[]," * 500_000)) is None
