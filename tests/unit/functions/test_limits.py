"""Limits at the edge: an open answer counts until it is over, and every answer tells how many requests are left."""

import gc
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest
from azurefunctions.extensions.http.fastapi import Request, Response

from functions.answers import LateAnswer, as_json, for_caller
from functions.limits import OpenAnswer, limited, open_answer, waiting
from shared.contract.callers import Caller, CallerLimits
from shared.core import errors
from shared.engine import Engine
from shared.runtime.quotas import Quotas, TooManyRequests

LEFT = ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")
ANN = Caller("ann", (), (), limits=CallerLimits(requests_per_minute=12, max_streams=1))
REQUEST = Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []})


def engine_of(quotas: Quotas) -> Engine:
    """Return an engine as the edge needs it."""
    return cast("Engine", SimpleNamespace(quotas=quotas))


async def answered(quotas: Quotas, caller: Caller, raised: Exception | None = None) -> Response:
    """Return the answer to a create that raises this. With None, it is answered with a body that goes on."""

    async def create(_engine: Engine, _caller: Caller, _req: Request) -> Response:
        if raised:
            raise raised
        return LateAnswer(body())

    return await for_caller(engine_of(quotas), caller, limited(create), REQUEST)


class Ends:
    """Counts how often an answer was said to be over."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """Count one."""
        self.count += 1


async def body() -> AsyncIterator[bytes]:
    """Yield one piece."""
    yield b"{}"


def test_an_answer_that_is_whole_is_over_with_its_call() -> None:
    """The block that made it ends it."""
    ended = Ends()
    opened = OpenAnswer(ended)
    answer = Response(b"{}")
    assert opened.until_sent(answer) is answer
    assert (opened.goes_on, ended.count) == (False, 0)


def test_an_answer_that_goes_on_is_over_when_it_is_sent() -> None:
    """Its own contexts end then."""
    ended = Ends()
    opened = OpenAnswer(ended)
    answer = LateAnswer(body())
    opened.until_sent(answer)
    assert (opened.goes_on, ended.count) == (True, 0)
    answer.until_sent.close()
    assert ended.count == 1


def test_an_answer_that_is_dropped_unsent_is_over() -> None:
    """The platform may lose its connection before it sends a byte. A caller would else never get its place back."""
    ended = Ends()
    opened = OpenAnswer(ended)
    opened.until_sent(LateAnswer(body()))
    gc.collect()
    assert ended.count == 1


# What is left


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (None, 200),
        (errors.BadRequest("No."), 400),
        (errors.NotFound("No."), 404),
        (errors.RefusedByUpstream(errors.UpstreamRefused(409, "No.")), 409),
        (errors.TooLarge("No."), 413),
        (TooManyRequests("This caller has 3 responses that have not ended."), 429),
        (ValueError("a fault of ours"), 500),
        (errors.StoreRefused(), 500),
        (errors.StoreUnavailable(), 503),
        (errors.Unavailable("No."), 503),
    ],
)
async def test_every_answer_tells_what_is_left(raised: Exception | None, status: int) -> None:
    """Also that of an error, and one whose body goes on."""
    quotas = Quotas(lambda: 1_000.0)
    answer = await answered(quotas, ANN, raised)
    assert answer.status_code == status
    assert [answer.headers[name] for name in LEFT] == ["12", "11", "5.000s"]
    assert answer.headers["x-request-id"]
    other = await answered(quotas, Caller("bob", (), ()), raised)
    assert not set(LEFT) & set(other.headers)


async def test_an_answer_that_counts_as_no_request_tells_it_too() -> None:
    """A poll gets to know when its caller may create again."""

    async def show(_engine: Engine, _caller: Caller, _req: Request) -> Response:
        return as_json({})

    quotas = Quotas(lambda: 1_000.0)
    shown = [await for_caller(engine_of(quotas), ANN, show, REQUEST) for _ in range(3)]
    assert {answer.headers["x-ratelimit-remaining-requests"] for answer in shown} == {"12"}


# Calls that wait


async def test_a_call_that_waits_counts_as_an_open_answer() -> None:
    """As long as it waits. One that asks not to wait needs no room."""
    engine = engine_of(Quotas(lambda: 1_000.0))
    async with waiting(engine, ANN, 60):
        with pytest.raises(TooManyRequests, match="1 streams and waiting calls"):
            async with waiting(engine, ANN, 1):
                pass
        with pytest.raises(TooManyRequests):
            async with open_answer(engine, ANN):
                pass
        async with waiting(engine, ANN, 0):
            pass
    async with waiting(engine, ANN, 60):
        pass
