"""Waiting for the end: what a caller costs who waits, in the process that watches the response and in another one."""

import asyncio
from collections import Counter
from typing import Any

import orjson
import pytest

from shared.contract.requests import parse_request
from shared.core.alarms import Kind
from shared.core.errors import NotFound, RefusedByUpstream, UpstreamRefused, UpstreamUnavailable, UpstreamUncertain
from shared.core.records import Record
from shared.core.states import Status
from shared.engine import Engine
from shared.lifecycle import waiting
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.fast_loop import BACKEND
from tests.support.foreground_calls import called
from tests.support.passing_time import pass_seconds, pass_unnoticed, result_of
from tests.support.stage import ANN, Stage

OUTAGE = UpstreamUnavailable("ConnectError")
CUT = UpstreamUncertain("ReadError")
REFUSAL = UpstreamRefused(422, "no such tool", param=None, code=None, kind=None)


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run the tests of this module on a loop whose clock can be moved forward."""
    return BACKEND


Answer = tuple[Record, bytes]


def asked(engine: Engine, wait_s: float | None = None, **fields: Any) -> "asyncio.Task[Answer]":
    """Begin a request that waits for the end, in the foreground unless the fields say otherwise."""
    new = parse_request(orjson.dumps({"model": "m", "input": "question", **fields}))
    return asyncio.create_task(called(engine, ANN, new) if wait_s is None else engine.create(ANN, new, None, wait_s))


async def is_watched(stage: Stage) -> None:
    """Return once this process watches one response."""

    async def one() -> bool:
        return len(stage.ports.watches) == 1

    await until(one)


# In the process that watches


async def test_whoever_waits_is_told_and_reads_nothing(stage: Stage) -> None:
    """A foreground call of 2 s takes the three transactions of its life. It looks once whether it repeats another."""
    stage.upstream.course = [Status.IN_PROGRESS, Status.COMPLETED]
    before = stage.proxy.counts.copy()
    call = asked(stage.engine)
    await is_watched(stage)
    await pass_seconds(stage, 2)
    record, body = await call
    assert record.status is Status.COMPLETED
    assert orjson.loads(body)["output"]
    assert stage.proxy.counts - before == Counter({"POST $batch": 3, "GET responses(key)": 1})
    assert stage.sent == []


async def test_a_large_answer_is_told_too(stage: Stage) -> None:
    """Its object is in rows of its own, which the caller does not read."""
    stage.upstream.output = "".join(f"{n:x}" for n in range(60_000))
    stage.upstream.course = [Status.COMPLETED]
    call = asked(stage.engine)
    await is_watched(stage)
    before = stage.proxy.counts.copy()
    await pass_seconds(stage, 1)
    record, body = await call
    assert record.body_rows
    assert stage.upstream.output in orjson.loads(body)["output"][0]["content"][0]["text"]
    assert stage.proxy.counts - before == Counter({"POST $batch": 1})


async def test_a_get_that_waits_is_told_by_the_watch(stage: Stage) -> None:
    """It reads the record once, to see whose it is. An end by anybody in this process ends its wait."""
    stage.watch()
    stage.upstream.course = [Status.QUEUED]
    made = await stage.create()
    before = stage.proxy.counts.copy()
    call = asyncio.create_task(stage.engine.retrieve(ANN, made.id, 30))

    async def waits() -> bool:
        return stage.ports.watches.is_waited_for(made.id)

    await until(waits)
    await stage.engine.cancel(ANN, made.id)
    record, body = await call
    assert (record.status, orjson.loads(body)["status"]) == (Status.CANCELLED, "cancelled")
    assert stage.proxy.counts - before == Counter({"GET responses(key)": 2, "POST $batch": 1})


async def test_a_watch_goes_on_while_a_caller_waits(stage: Stage) -> None:
    """It does not count, and goes on beyond 25 s with polls at least every 10 s. Then it is handed over."""
    stage.limit(deadline_ms=10_000_000)
    stage.upstream.course = [Status.IN_PROGRESS]
    call = asked(stage.engine, 300)
    await is_watched(stage)
    for _ in range(150):
        await pass_seconds(stage, 1)
    polls = stage.upstream.polls
    for _ in range(60):
        await pass_seconds(stage, 1)
    assert 5 <= stage.upstream.polls - polls <= 6
    assert len(stage.ports.watches) == 1
    call.cancel()
    await asyncio.wait([call])

    async def is_over() -> bool:
        return not stage.ports.watches

    await until(is_over)
    (response_id,) = stage.upstream.starts
    (alarm,) = await stage.alarms(response_id)
    assert alarm.due_ms <= stage.clock.ms + 10_000
    assert len(stage.wakeups(response_id)) == 1


async def test_after_its_time_a_waiter_is_shown_how_far_the_work_is(stage: Stage) -> None:
    """The status is that of the upstream, and the record says so from now on."""
    stage.upstream.course = [Status.IN_PROGRESS]
    call = asked(stage.engine, 3)
    await is_watched(stage)
    await pass_seconds(stage, 3)
    record, body = await call
    assert (record.status, orjson.loads(body)["status"]) == (Status.IN_PROGRESS, "in_progress")
    assert (await stage.record(record.id)).status is Status.IN_PROGRESS


async def test_a_waiter_goes_on_after_the_watch(stage: Stage) -> None:
    """The upstream fails twice, so a sweep polls it. The caller still gets the end."""
    stage.upstream.course = [Status.IN_PROGRESS]
    stage.upstream.poll_errors = [OUTAGE, OUTAGE]
    call = asked(stage.engine, 60)
    await is_watched(stage)
    await pass_seconds(stage, 2)
    assert not stage.ports.watches
    next(iter(stage.upstream.works.values())).course = [Status.COMPLETED]
    (response_id,) = stage.upstream.starts
    await stage.fire_alarms(response_id)
    assert (await result_of(call))[0].status is Status.COMPLETED


# In another process


async def test_another_process_reads_the_status(stage: Stage) -> None:
    """It reads the record without the object, twice a second at first, and polls the upstream at most every 10 s."""
    stage.upstream.course = [Status.IN_PROGRESS]
    made = await stage.create()
    call = asyncio.create_task(stage.engine.retrieve(ANN, made.id, 30))

    async def has_polled() -> bool:
        return stage.upstream.polls == 1

    await until(has_polled)
    reads = Counter[str]()
    for _ in range(8):
        before = stage.proxy.counts.copy()
        await pass_unnoticed(0.5)

        async def has_read(before: Counter[str] = before) -> bool:
            return (stage.proxy.counts - before)["GET responses(key)"] >= 1

        await until(has_read)
        reads += stage.proxy.counts - before
    assert reads["GET responses(key)"] <= 10
    assert stage.upstream.polls == 1
    await (await stage.process()).cancel(ANN, made.id)
    assert (await result_of(call))[0].status is Status.CANCELLED
    assert stage.upstream.polls == 1


async def test_an_end_whose_object_cannot_be_read_is_looked_at_again(stage: Stage) -> None:
    """The record tells the end, and its rows with a large object do not answer. No caller gets an end without it."""
    stage.upstream.output = "".join(f"{n:x}" for n in range(60_000))
    stage.upstream.course = [Status.COMPLETED]
    made = await stage.create()
    await (await stage.process()).retrieve(ANN, made.id)
    assert (await stage.record(made.id)).body_rows
    lost = stage.proxy.lose(lambda request: request.method == "GET" and "%7Cbody" in request.path)
    call = asyncio.create_task(waiting.end_of(stage.ports, made))
    record, body = await result_of(call)
    assert lost.happened.is_set()
    assert record.status is Status.COMPLETED
    assert stage.upstream.output in orjson.loads(body)["output"][0]["content"][0]["text"]


async def test_a_response_that_is_gone_is_not_found(stage: Stage) -> None:
    """It was cancelled and deleted after its caller had begun to wait."""
    made = await stage.create()
    await stage.engine.cancel(ANN, made.id)
    await stage.engine.delete(ANN, made.id)
    with pytest.raises(NotFound):
        await waiting.until_ended(stage.ports, (made, b""), 30)


async def deferred(stage: Stage) -> str:
    """Wait until the first try of a response has failed, and return its id."""

    async def has_failed() -> bool:
        return any([(await stage.record(one)).wait.reason for one in stage.upstream.starts])

    await until(has_failed)
    (response_id,) = stage.upstream.starts
    assert await stage.kinds(response_id) == [Kind.START]
    return response_id


async def test_a_refusal_reaches_a_waiter_without_a_watch(stage: Stage) -> None:
    """The first try failed, a sweep makes the second one, and the upstream refuses it. The POST answers with that."""
    stage.upstream.start_errors = [CUT, REFUSAL]
    call = asked(stage.engine, 60)
    response_id = await deferred(stage)
    await stage.fire_alarms(response_id)
    assert stage.clock.ms == START_MS + 10_000
    with pytest.raises(RefusedByUpstream):
        await result_of(call)


async def test_a_refusal_after_its_turn_reaches_a_waiter_as_a_failed_response(stage: Stage) -> None:
    """The first try began nothing, so the response waited for its turn and is acknowledged. Its second is refused."""
    stage.upstream.start_errors = [OUTAGE, REFUSAL]
    call = asked(stage.engine, 60)
    response_id = await deferred(stage)
    assert (await stage.alarms(response_id))[0].due_ms == (await stage.record(response_id)).deadline_ms
    await stage.fire_alarms(response_id)
    assert stage.clock.ms == START_MS + 1_000
    record, body = await result_of(call)
    assert (record.id, record.status, record.deleted) == (response_id, Status.FAILED, False)
    assert orjson.loads(body)["error"]["message"] == "no such tool"
