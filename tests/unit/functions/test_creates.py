"""POST /responses: which way a request is answered, and what is held meanwhile. The engine is a fake."""

import gc
from collections.abc import AsyncIterator
from typing import Any, cast

import orjson
import pytest
from azurefunctions.extensions.http.fastapi import Request

from functions.creates import create
from shared.contract.callers import Caller
from shared.contract.requests import NewResponse
from shared.core.records import Record
from shared.core.states import Status
from shared.engine import Engine
from shared.foreground.times import Times
from shared.runtime.quotas import Entrance, Quotas

ANN = Caller("ann", (), ())
ID = "resp_0123456789abcdef0123456789abcdef"
SHOWN = (Record(ID, "ann", created_ms=0, deadline_ms=1, status=Status.QUEUED), b'{"status":"queued"}')


class FakeCall:
    """A call whose response ends at once. It counts the requests that the process holds while it is waited for."""

    id = ID
    times = Times(0.01, 0.01, 0, 0.01)
    is_left = False
    held = -1

    async def end(self, _within_s: float | None = None) -> tuple[Record, bytes]:
        """Return the end."""
        self.held = sum(isinstance(one, NewResponse) for one in gc.get_objects())
        return SHOWN


class FakeEngine:
    """Notes the way that a request takes, and for how long it is to wait."""

    def __init__(self) -> None:
        self.quotas, self.entrance = Quotas(lambda: 0.0), Entrance()
        self.call_made = FakeCall()
        self.took: list[Any] = []

    async def create_stream(self, *_given: Any) -> AsyncIterator[bytes]:
        """Return an empty stream."""
        self.took.append("stream")

        async def events() -> AsyncIterator[bytes]:
            yield b""

        return events()

    async def call(self, *_given: Any) -> FakeCall:
        """Return a call."""
        self.took.append("call")
        return self.call_made

    async def create(self, _caller: Caller, _new: NewResponse, _key: str | None, wait_s: int) -> tuple[Record, bytes]:
        """Return an unfinished response."""
        self.took.append(wait_s)
        return SHOWN


async def created(engine: FakeEngine, prefer: str, **fields: Any) -> Any:
    """Return the answer to a request."""
    headers = [(b"content-type", b"application/json"), (b"prefer", prefer.encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/responses/", "query_string": b"", "headers": headers}
    pieces = [{"type": "http.request", "body": orjson.dumps({"model": "m", "input": "i", **fields})}]

    async def receive() -> Any:
        return pieces.pop() if pieces else {"type": "http.disconnect"}

    return await create(cast("Engine", engine), ANN, Request(scope, receive))


@pytest.mark.parametrize(
    ("fields", "prefer", "way", "status"),
    [
        *(({"stream": True}, "wait=5", "stream", 200), ({"stream": True, "background": True}, "", "stream", 200)),
        *(({}, "", "call", 200), ({}, "wait=5", 5, 200), ({}, "respond-async", 0, 202), ({}, "wait=0", 0, 200)),
        *(({"background": True}, "", 0, 200), ({"background": True}, "wait=99", 60, 200)),
        ({"background": True}, "respond-async, wait=5", 5, 202),
    ],
)
async def test_a_request_is_answered_in_one_of_three_ways(
    fields: dict[str, bool], prefer: str, way: str | int, status: int
) -> None:
    """By a stream, when its response has ended, or after so many seconds as it is then."""
    engine = FakeEngine()
    answer = await created(engine, prefer, **fields)
    assert (engine.took, answer.status_code) == ([way], status)
    if status == 202:
        assert answer.headers["location"] == f"/v1/responses/{ID}"


async def test_a_call_that_waits_holds_no_body() -> None:
    """A request may have 8 MiB, and a call may wait for hours."""
    gc.collect()
    before = sum(isinstance(one, NewResponse) for one in gc.get_objects())
    engine = FakeEngine()
    await created(engine, "")
    assert engine.call_made.held == before
