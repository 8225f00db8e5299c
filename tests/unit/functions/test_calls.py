"""Foreground calls over HTTP: what goes out when, and what a client that leaves changes. The call itself is a fake."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from azurefunctions.extensions.http.fastapi import Request, Response
from starlette.requests import ClientDisconnect

from functions.answers import LateAnswer, as_stream
from functions.calls import BLANK, answer
from shared.core.errors import NotFound, RefusedByUpstream, StreamBroken, UpstreamRefused
from shared.core.records import Record
from shared.core.states import Status
from shared.foreground.call import Call
from shared.foreground.times import Times
from shared.openapi.operation import STREAMED
from shared.openapi.parameters import answer_headers

ENDED = Record("resp_0123456789abcdef0123456789abcdef", "ann", created_ms=0, deadline_ms=1, status=Status.COMPLETED)
SHOWN = (ENDED, b'{"status":"completed"}')
REFUSAL = RefusedByUpstream(UpstreamRefused(404, "No such model."))


class FakeCall:
    """A call that ends after so many looks, with a result or an error."""

    def __init__(self, looks: int, result: Any = SHOWN, *, promised: Exception | None = None) -> None:
        self.id = ENDED.id
        self.times = Times(0.01, 0.01, 0, 0.01)
        self.is_left = self.is_over = False
        self.told: list[str] = []
        self._looks = looks
        self._result = result
        self._promised = promised

    async def end(self, within_s: float | None = None) -> Any:
        """Return the result at the last look."""
        if self.is_left:
            self.told.append("waits for its run")
            return None
        self._looks -= 1
        if self._looks >= 0:
            await asyncio.sleep(within_s or 0)
            return None
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    async def promise(self) -> None:
        """Note it, or fail."""
        self.told.append("promised")
        if self._promised:
            raise self._promised

    def leave(self) -> None:
        """Note it."""
        self.told.append("left")
        self.is_left = True


def request(*, leaves: bool = False) -> Request:
    """Return a request whose body has been read."""

    async def receive() -> Any:
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}, receive)


def stays() -> None:
    """Fail, because the client stays."""
    raise AssertionError("the client has not left")


def answered(call: FakeCall, *, leaves: bool = False) -> Response:
    """Return the answer of a call."""
    return asyncio.run(answer(cast("Call", call), request(leaves=leaves), lambda: call.told.append("open no longer")))


async def body_of(response: Response) -> list[bytes]:
    """Return the pieces of a late answer."""
    assert isinstance(response, LateAnswer)
    return [cast("bytes", piece) async for piece in cast("AsyncIterator[Any]", response.body_iterator)]


def late(call: FakeCall) -> tuple[Response, list[bytes]]:
    """Return the answer of a call that has not ended in time, and its pieces."""

    async def main() -> tuple[Response, list[bytes]]:
        response = await answer(cast("Call", call), request(), on_left=stays)
        return response, await body_of(response)

    return asyncio.run(main())


def test_an_end_in_time_goes_out_whole() -> None:
    """Nothing is promised."""
    call = FakeCall(0)
    response = answered(call)
    assert (response.status_code, response.body, call.told) == (200, SHOWN[1], [])


def test_a_later_end_follows_blanks() -> None:
    """The response is promised before the status line, whose headers name it and forbid to change or to keep back."""
    call = FakeCall(4)
    response, pieces = late(call)
    assert pieces == [BLANK] * 4 + [SHOWN[1]]
    assert call.told == ["promised"]
    assert response.headers["x-response-id"] == ENDED.id
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert "content-length" not in response.headers


def test_what_proxies_do_with_an_answer_that_goes_on_is_described() -> None:
    """A later end and a stream have what the document says, and it says no more."""
    sent = [late(FakeCall(4))[0].headers, as_stream(cast("Any", None)).headers]
    described = answer_headers()
    for name, component in STREAMED.items():
        assert {headers[name] for headers in sent} == set(described[component]["schema"]["enum"]), name


@pytest.mark.parametrize("make", [lambda: FakeCall(0, REFUSAL), lambda: FakeCall(1, promised=REFUSAL)])
def test_a_refusal_before_the_status_line_is_raised(make: Callable[[], FakeCall]) -> None:
    """It becomes an answer with its own status."""
    with pytest.raises(RefusedByUpstream):
        answered(make())


def test_a_client_that_leaves_before_the_status_line_gets_nothing() -> None:
    """The function returns only when a run in place is over."""
    call = FakeCall(100)
    with pytest.raises(ClientDisconnect):
        answered(call, leaves=True)
    assert call.told == ["left", "open no longer", "waits for its run"]


def test_a_function_that_is_cut_off_leaves_its_call() -> None:
    """A worker that shuts down cancels it."""

    async def main() -> list[str]:
        call = FakeCall(1_000_000)
        call.times = Times(60, 60, 0, 60)
        task = asyncio.create_task(answer(cast("Call", call), request(), on_left=stays))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return call.told

    assert asyncio.run(main()) == ["left"]


@pytest.mark.parametrize("error", [NotFound("gone"), ValueError("x")])
def test_what_cannot_end_in_json_breaks(error: Exception) -> None:
    """The status line is out, so there is no other way to say it. The work is left to a repeat."""
    call = FakeCall(2, error)
    with pytest.raises(type(error)):
        late(call)
    assert call.told == ["promised", "left"]


def test_an_answer_that_lasts_too_long_breaks() -> None:
    """A clean end without JSON would not be repeated."""
    call = FakeCall(2, None)
    call.is_over = True
    with pytest.raises(StreamBroken):
        late(call)
    assert call.told == ["promised", "left"]
