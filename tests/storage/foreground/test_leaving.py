"""The leaving of a client: a repeat may join from then on, and the work is cancelled if its caller has asked."""

import asyncio
from typing import Any

import pytest

from shared.contract.requests import parse_request
from shared.core.states import Status
from shared.engine import Engine
from shared.foreground.call import Call
from shared.foreground.clients import Client
from shared.foreground.leaving import CANCEL_AFTER_S
from tests.support.conditions import until
from tests.support.fast_loop import BACKEND
from tests.support.foreground_calls import PATIENT
from tests.support.passing_time import pass_seconds, result_of
from tests.support.run_holders import reaches
from tests.support.stage import ANN, BOB, Stage

ASKS = b'{"model": "m", "input": "question"}'
CANCELS = b'{"model": "m", "input": "question", "on_disconnect": "cancel"}'


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run the tests of this module on a loop whose clock can be moved forward."""
    return BACKEND


async def begun(
    stage: Stage, body: bytes = ASKS, client: Client = PATIENT, key: str | None = None, engine: Engine | None = None
) -> Call:
    """Make a call, and wait until its work has begun."""
    stage.upstream.course = [Status.IN_PROGRESS]
    call = await (engine or stage.engine).call(ANN, parse_request(body), key, client)

    async def has_begun() -> bool:
        record = await stage.ports.store.read(call.id)
        return bool(record and record.upstream.token)

    await until(has_begun)
    return call


async def left(call: Call) -> None:
    """Let the client of a call leave."""
    call.leave()
    assert await result_of(asyncio.create_task(call.end())) is None


async def test_a_repeat_joins_what_was_left(stage: Stage) -> None:
    """In another process, too. Of a caller that is not the same, an equal request is another work."""
    first = await begun(stage)
    await left(first)
    again = await begun(stage, engine=await stage.process())
    assert again.id == first.id
    other = await stage.engine.call(BOB, parse_request(ASKS), None, PATIENT)
    assert other.id != first.id
    assert sum(stage.upstream.starts.values()) <= 2


async def test_a_work_with_a_client_is_joined_only_by_who_says_that_it_repeats(stage: Stage) -> None:
    """An SDK counts its tries from 0."""
    first = await begun(stage, client=Client(retry_count=0))
    assert (await begun(stage, client=Client(retry_count=1))).id == first.id
    assert (await begun(stage, client=Client(retry_count=0))).id != first.id


async def test_the_work_is_cancelled_five_seconds_later(stage: Stage) -> None:
    """Only if its caller has asked for it."""
    goes_on, ends = await begun(stage), await begun(stage, CANCELS)
    await left(goes_on)
    await left(ends)
    await pass_seconds(stage, CANCEL_AFTER_S - 1)
    assert not (await stage.record(ends.id)).status.is_terminal
    await pass_seconds(stage, 2)
    assert (await reaches(stage, ends.id, lambda record: record.status.is_terminal)).status is Status.CANCELLED
    assert not (await stage.record(goes_on.id)).status.is_terminal


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_repeat_in_time_saves_the_work(stage: Stage, key: str | None) -> None:
    """It takes the work out of those that were left, with an idempotency key and without."""
    first = await begun(stage, CANCELS, key=key)
    await left(first)
    await pass_seconds(stage, 1)
    assert (await begun(stage, CANCELS, key=key)).id == first.id
    await pass_seconds(stage, CANCEL_AFTER_S + 1)
    assert not (await stage.record(first.id)).status.is_terminal


async def test_an_azure_client_for_net_brings_its_own_key(stage: Stage) -> None:
    """Each of its tries has the same id, so no row is needed. Two requests have two ids."""
    one = Client(bounds_body=True, request_id="0f8fad5b-d9cb-469f-a165-70867728950e")
    other = Client(bounds_body=True, request_id="7c9e6679-7425-40de-944b-e07fc1f90ae7")
    first = await begun(stage, client=one)
    assert (await begun(stage, client=one)).id == first.id
    assert (await begun(stage, client=other)).id != first.id


async def test_an_outage_as_the_client_leaves_is_no_error(stage: Stage) -> None:
    """The work goes on, and its repeat may become a work of its own."""
    first = await begun(stage)
    async with stage.proxy.refusing():
        first.leave()
        assert await result_of(asyncio.create_task(first.end())) is None
    assert not (await stage.record(first.id)).status.is_terminal
