"""Foreground calls: they wait as long as the work takes, they can be left, and a promise is kept."""

import asyncio
from typing import Any

import orjson
import pytest

from shared.contract.requests import parse_request
from shared.core.alarms import Kind
from shared.core.errors import (
    NotFound,
    RefusedByUpstream,
    StoreUnavailable,
    UpstreamRefused,
    UpstreamUnavailable,
    UpstreamUncertain,
)
from shared.core.states import Status
from shared.foreground.call import Call
from shared.foreground.clients import Client
from shared.lifecycle.waiting import Shown
from shared.storage.messages import RunOffer
from tests.support.conditions import until
from tests.support.fast_loop import BACKEND
from tests.support.foreground_calls import PATIENT
from tests.support.passing_time import pass_seconds, result_of
from tests.support.run_holders import reaches
from tests.support.stage import ANN, Stage

REFUSAL = UpstreamRefused(404, "No such model.", param="model", code="model_not_found")
DAYS_S = 86_400


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run the tests of this module on a loop whose clock can be moved forward."""
    return BACKEND


async def call_of(stage: Stage, client: Client = PATIENT) -> Call:
    """Begin a call."""
    return await stage.engine.call(ANN, parse_request(b'{"model": "m", "input": "question"}'), None, client)


async def is_accepted(stage: Stage, call: Call) -> None:
    """Wait until the record is there."""

    async def is_there() -> bool:
        return await stage.ports.store.read(call.id) is not None

    await until(is_there)


async def ended(call: Call) -> Shown:
    """Return the answer of a call. The loop's clock passes until it is there."""
    shown = await result_of(asyncio.create_task(call.end()))
    assert shown, "the client has left"
    return shown


async def fails_once_promised(stage: Stage) -> None:
    """Promise a response whose start will be refused, and check that it shows the refusal."""
    gate = stage.upstream.hold_starts()
    call = await call_of(stage)
    await gate.reached.wait()
    await call.promise()
    assert (await stage.record(call.id)).acknowledged
    gate.open()
    record, body = await ended(call)
    assert (record.status, orjson.loads(body)["error"]["code"]) == (Status.FAILED, "model_not_found")


async def is_watched(stage: Stage) -> None:
    """Wait until this process watches one response."""

    async def one() -> bool:
        return len(stage.ports.watches) == 1

    await until(one)


# Background upstreams


async def test_a_call_waits_for_hours(stage: Stage) -> None:
    """Until then it returns nothing, however often it is asked, and then the whole response."""
    stage.limit(deadline_ms=DAYS_S * 1_000)
    stage.upstream.course = [Status.IN_PROGRESS]
    call = await call_of(stage)
    await is_watched(stage)
    for _ in range(40):
        await pass_seconds(stage, 15)
        assert not call.is_over
    next(iter(stage.upstream.works.values())).course = [Status.COMPLETED]
    await pass_seconds(stage, 10)
    record, body = await ended(call)
    assert (record.status, orjson.loads(body)["status"]) == (Status.COMPLETED, "completed")
    assert orjson.loads(body)["background"] is False


async def test_nothing_is_returned_before_the_end(stage: Stage) -> None:
    """After its time, `end` returns None, and the call goes on."""
    stage.upstream.course = [Status.IN_PROGRESS]
    call = await call_of(stage)
    ending = asyncio.create_task(call.end(5))
    await is_watched(stage)
    await pass_seconds(stage, 5)
    assert await result_of(ending) is None
    assert not call.is_over
    call.leave()


async def test_a_client_that_leaves_costs_nothing_more(stage: Stage) -> None:
    """The work goes on without it: the watch is over after its time, and then sweeps poll."""
    stage.upstream.course = [Status.IN_PROGRESS]
    call = await call_of(stage)
    await is_watched(stage)
    call.leave()
    assert await result_of(asyncio.create_task(call.end())) is None
    assert call.is_left
    assert not stage.ports.watches.is_waited_for(call.id)
    await pass_seconds(stage, 30)
    assert len(stage.ports.watches) == 0
    assert await stage.kinds(call.id) == [Kind.POLL]


async def test_a_client_that_leaves_during_the_start_does_not_cut_it_off(stage: Stage) -> None:
    """The token of the upstream is recorded, and the response ends as it would have."""
    gate = stage.upstream.hold_starts()
    call = await call_of(stage)
    await gate.reached.wait()
    call.leave()
    gate.open()
    record = await reaches(stage, call.id, lambda record: record.upstream.token is not None)
    assert (record.status, sum(stage.upstream.starts.values())) == (Status.QUEUED, 1)


async def test_a_refusal_is_raised_and_leaves_nothing(stage: Stage) -> None:
    """It is the answer of the call, which is not out yet."""
    stage.upstream.start_errors = [REFUSAL]
    call = await call_of(stage)
    with pytest.raises(RefusedByUpstream, match="No such model"):
        await call.end()
    assert await stage.ports.store.read(call.id) is None


async def test_a_promised_response_is_kept(stage: Stage) -> None:
    """The start is under way when the status line goes out. A refusal after that fails the response, which is shown."""
    stage.upstream.start_errors = [REFUSAL]
    await fails_once_promised(stage)


async def test_a_promise_after_a_refusal_is_the_refusal(stage: Stage) -> None:
    """Nothing is out yet, so the call is answered with it. The try before may have begun the work."""
    stage.upstream.start_errors = [UpstreamUncertain("x"), REFUSAL]
    call = await call_of(stage)
    await is_accepted(stage, call)

    async def is_deferred() -> bool:
        return bool(stage.sent)

    await until(is_deferred)
    await stage.fire_alarms(call.id)
    assert (await stage.record(call.id)).upstream.refusal == 404
    with pytest.raises(RefusedByUpstream):
        await call.promise()


async def test_a_refusal_fails_a_call_that_has_waited_in_a_line(stage: Stage) -> None:
    """What waits in a line is promised, so a refusal at its turn hides nothing."""
    stage.upstream.start_errors = [UpstreamUnavailable("x"), REFUSAL]
    call = await call_of(stage)
    await is_accepted(stage, call)
    await reaches(stage, call.id, lambda record: record.acknowledged)
    await stage.fire_alarms(call.id)
    record = await stage.record(call.id)
    assert (record.status, record.upstream.refusal, record.deleted) == (Status.FAILED, 0, False)
    await call.promise()
    shown = await call.end()
    assert shown
    assert shown[0].status is Status.FAILED


async def test_a_promise_writes_nothing_where_the_start_is_confirmed(stage: Stage) -> None:
    """The id is safe already."""
    stage.upstream.course = [Status.IN_PROGRESS]
    call = await call_of(stage)
    await is_watched(stage)
    before = stage.proxy.counts["POST $batch"]
    await call.promise()
    assert stage.proxy.counts["POST $batch"] == before
    call.leave()


async def test_a_promise_is_not_worth_an_outage(stage: Stage) -> None:
    """If storage is away when the status line has to go out, it goes out."""
    stage.upstream.course = [Status.IN_PROGRESS]
    call = await call_of(stage)
    await is_watched(stage)
    async with stage.proxy.refusing():
        await result_of(asyncio.create_task(call.promise()))
    call.leave()


async def test_nothing_is_accepted_without_storage(stage: Stage) -> None:
    """The call raises, and its client gets a 503."""
    async with stage.proxy.refusing():
        with pytest.raises(StoreUnavailable):
            await result_of(asyncio.create_task(call_of(stage)))


async def test_a_response_that_is_deleted_meanwhile_is_not_found(stage: Stage) -> None:
    """Somebody has cancelled and deleted it by its id, which a list or a log has shown, in another process."""
    stage.limit(watch=False)
    call = await call_of(stage)
    await is_accepted(stage, call)
    other = await stage.process()
    await reaches(stage, call.id, lambda record: record.upstream.token is not None)
    await other.cancel(ANN, call.id)
    await other.delete(ANN, call.id)
    with pytest.raises(NotFound):
        await result_of(asyncio.create_task(call.end()))


# Foreground upstreams: the run is in place


@pytest.fixture
def in_place(stage: Stage) -> None:
    """Make the upstream a foreground one."""
    stage.upstream.is_background = False


@pytest.mark.usefixtures("in_place")
async def test_a_run_in_place_is_the_call(stage: Stage) -> None:
    """Its end is the answer, and no message is sent."""
    gate = stage.upstream.streams.hold(2)
    call = await call_of(stage)
    assert await call.end(0.05) is None
    gate.open()
    record, _ = await ended(call)
    assert record.status is Status.COMPLETED
    assert stage.sent == []


@pytest.mark.usefixtures("in_place")
async def test_work_that_has_not_begun_is_handed_over_when_the_client_leaves(stage: Stage) -> None:
    """This process does nothing more for it, and another one goes on from the queue."""
    gate = stage.upstream.hold_starts()
    call = await call_of(stage)
    await gate.reached.wait()
    call.leave()
    assert await result_of(asyncio.create_task(call.end())) is None
    record = await stage.record(call.id)
    assert (record.run.epoch, record.run.claimed) == (2, False)
    gate.open()
    await (await stage.process()).drive(RunOffer(call.id, 2))
    assert (await stage.record(call.id)).status is Status.COMPLETED


@pytest.mark.usefixtures("in_place")
async def test_work_that_has_begun_goes_on_here_when_the_client_leaves(stage: Stage) -> None:
    """Its stream is the work. `end` returns only when the run is over, because its invocation keeps the instance."""
    gate = stage.upstream.streams.hold(2)
    call = await call_of(stage)
    await is_accepted(stage, call)
    await reaches(stage, call.id, lambda record: record.status is Status.IN_PROGRESS)
    call.leave()
    ending = asyncio.create_task(call.end())
    await asyncio.sleep(0)
    assert not ending.done()
    gate.open()
    await result_of(ending)
    assert (await stage.record(call.id)).status is Status.COMPLETED


@pytest.mark.usefixtures("in_place")
async def test_a_refusal_after_a_promise_fails_the_run(stage: Stage) -> None:
    """The status line is out, so the refusal is the object's."""
    stage.upstream.streams.run_errors = [REFUSAL]
    await fails_once_promised(stage)


async def test_a_client_that_bounds_the_body_gets_its_first_byte_late(stage: Stage) -> None:
    """85 s instead of 15 s, so that its 100 s more to the end of the body begin as late as possible."""
    stage.upstream.first = Status.COMPLETED
    begun = [(await call_of(stage, client)).times.begin_s for client in (PATIENT, Client(bounds_body=True))]
    assert begun == [15.0, 85.0]
