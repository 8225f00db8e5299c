"""What an outage says about a new response, on real storage: that it was not accepted only if nothing was written."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from shared.contract.callers import Caller, CallerLimits, Callers
from shared.contract.requests import parse_request
from shared.core.errors import StoreError, StoreUnavailable
from shared.foreground.clients import Client
from tests.support.proxies.fault_proxy import StorageRequest
from tests.support.stage import ANN, Stage

LIMITED = replace(ANN, limits=CallerLimits(max_in_flight=3))
ASKED = {"model": "m", "input": "question"}
WAYS: dict[str, dict[str, Any]] = {
    "background": {"background": True},
    "stream": {"background": True, "stream": True},
    "foreground": {},
    "joining": {"on_disconnect": "cancel"},
}


def reads(part: str) -> Callable[[StorageRequest], bool]:
    """Return what matches the reads of rows whose keys have this part."""
    return lambda request: request.method == "GET" and part in request.path


def has_row(part: str) -> Callable[[StorageRequest], bool]:
    """Return what matches requests about rows whose keys have this part."""
    return lambda request: part in request.path or part.encode() in request.body


async def ask(stage: Stage, caller: Caller = ANN, key: str | None = None, **fields: Any) -> None:
    """Ask for a response."""
    new = parse_request(orjson.dumps({**ASKED, **fields}))
    if new.stream:
        await stage.engine.create_stream(caller, new, key, Client())
    elif new.background:
        await stage.engine.create(caller, new, key)
    else:
        await (await stage.engine.call(caller, new, key, Client())).end()


async def advice(stage: Stage, caller: Caller = ANN, key: str | None = None, **fields: Any) -> str:
    """Ask for a response while storage is away, and return what is said about it."""
    with pytest.raises(StoreUnavailable) as raised:
        await ask(stage, caller, key, **fields)
    return raised.value.advice


async def stored(stage: Stage) -> int:
    """Return how many responses there are."""
    query = (await stage.table()).query_entities("RowKey ge 'resp|' and RowKey lt 'resp}'", select=["RowKey"])
    return len([row async for row in query if row["RowKey"].count("|") == 1])


@pytest.mark.parametrize("way", WAYS)
async def test_a_write_that_cannot_be_sent_accepts_nothing(stage: Stage, way: str) -> None:
    """Nobody listens there, so nothing has arrived."""
    async with stage.proxy.refusing():
        assert "was not accepted" in await advice(stage, **WAYS[way])
    assert await stored(stage) == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_carried_out", [True, False])
async def test_a_write_that_may_have_arrived_may_have_accepted_it(
    stage: Stage, way: str, *, is_carried_out: bool
) -> None:
    """Its answer is lost, and so is what would tell what became of it."""
    if is_carried_out:
        stage.proxy.drop_answer(has_row("resp|"), None)
    else:
        stage.proxy.lose(has_row("resp|"), None)
    stage.proxy.refuse(reads("resp%7C"))
    assert await advice(stage, **WAYS[way]) == StoreError.advice
    stage.proxy.heal()
    assert await stored(stage) == is_carried_out


async def test_a_count_that_fails_accepts_nothing(stage: Stage) -> None:
    """The responses of a caller with a limit are counted before one more is written."""
    stage.change(callers=Callers((LIMITED,)))
    stage.proxy.refuse(reads("live%7C"))
    assert "was not accepted" in await advice(stage, LIMITED, background=True)
    assert await stored(stage) == 0


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_look_for_a_repeat_that_fails_accepts_nothing(stage: Stage, key: str | None) -> None:
    """It comes before the response is written, also of one with a key that is to be cancelled if its client leaves."""
    stage.proxy.refuse(has_row("same"))
    assert "was not accepted" in await advice(stage, key=key, on_disconnect="cancel")
    assert await stored(stage) == 0
