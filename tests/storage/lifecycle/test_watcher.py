"""The watcher: what a watched response costs, how its watch ends it, and what other processes may do meanwhile."""

import asyncio
import itertools
from collections import Counter
from typing import Any

import orjson
import pytest

from shared.contract.requests import parse_request
from shared.core.alarms import Kind
from shared.core.errors import UpstreamMissing, UpstreamOversized, UpstreamRedirected, UpstreamUnusable
from shared.core.states import Status
from shared.engine import Engine
from shared.runtime.unit_of_work import update
from shared.transitions import response_transitions
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.fast_loop import BACKEND
from tests.support.foreground_calls import called
from tests.support.passing_time import pass_seconds
from tests.support.stage import ANN, CALLBACK_URL, Stage
from tests.support.watched_responses import is_ended, is_over, watched


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run the tests of this module on a loop whose clock can be moved forward."""
    return BACKEND


async def created(stage: Stage) -> dict[str, Any]:
    """Create a response in the foreground, and return the response object of the answer."""
    body = orjson.dumps({"model": "m", "input": "question"})
    answer: dict[str, Any] = orjson.loads((await called(stage.engine, ANN, parse_request(body)))[1])
    return answer


async def is_watched(stage: Stage) -> None:
    """Return once this process watches one response."""

    async def one() -> bool:
        return len(stage.ports.watches) == 1

    await until(one)


# What it costs


async def test_a_response_of_two_seconds_takes_three_transactions(stage: Stage) -> None:
    """They accept it, record its start and end it. Nothing is read, and no message is sent."""
    before = stage.proxy.counts.copy()
    made = await watched(stage, Status.IN_PROGRESS, Status.COMPLETED)
    await pass_seconds(stage, 2)
    await is_over(stage)
    assert stage.proxy.counts - before == Counter({"POST $batch": 3})
    assert stage.sent == []
    assert (await stage.record(made.id)).status is Status.COMPLETED
    assert await stage.kinds(made.id) == [Kind.PURGE]
    assert stage.upstream.polls == 2


async def test_the_lease_fires_after_15_seconds_and_has_no_wakeup(stage: Stage) -> None:
    """It says that the record was never read. Where the deadline is earlier, it fires then."""
    (lease,) = await stage.alarms((await watched(stage)).id)
    assert (lease.kind, lease.due_ms, lease.read_ms) == (Kind.POLL, START_MS + 15_000, 0)
    stage.limit(deadline_ms=9_000)
    (lease,) = await stage.alarms((await stage.create()).id)
    assert lease.due_ms == START_MS + 9_000
    assert stage.sent == []


async def test_a_lease_is_renewed_only_when_it_is_about_to_fire(stage: Stage) -> None:
    """A response of 24 s takes two renewals. Each sets the lease to 15 s from then."""
    made = await watched(stage)
    before = stage.proxy.counts.copy()
    due = set()
    for _ in range(24):
        await pass_seconds(stage, 1)
        due.add((await stage.alarms(made.id))[0].due_ms)
    renewed = sorted(due)
    assert len(renewed) == 3
    assert all(9_000 <= later - sooner <= 12_000 for sooner, later in itertools.pairwise(renewed))
    assert (stage.proxy.counts - before)["POST $batch"] == 2
    assert stage.upstream.polls >= 15


# How it ends a response


async def test_the_deadline_is_enforced_by_the_watch(stage: Stage) -> None:
    """The response fails at its deadline and not before, and its work is stopped. The lease goes with the end."""
    stage.limit(deadline_ms=5_000)
    made = await watched(stage)
    await pass_seconds(stage, 4)
    assert not (await stage.record(made.id)).status.is_terminal
    await pass_seconds(stage, 1)
    ended = await is_ended(stage, made)
    assert ended.ended_ms == START_MS + 5_000
    assert (await stage.shown(made.id))["error"]["code"] == "deadline_exceeded"
    assert await stage.kinds(made.id) == [Kind.STOP, Kind.PURGE]


@pytest.mark.parametrize("write", ["acknowledge", "progress"])
async def test_a_stale_record_in_hand_is_read_again(stage: Stage, write: str) -> None:
    """Another process has written the record meanwhile. The end is written, with the lease, and nothing is lost."""
    made = await watched(stage, Status.IN_PROGRESS, Status.COMPLETED, callback_url=CALLBACK_URL)
    other = await stage.new_ports(stage.clock)
    if write == "progress":
        await Engine(other).retrieve(ANN, made.id)
    else:
        await update(other, None, made.id, response_transitions.acknowledge)
    await pass_seconds(stage, 2)
    ended = await is_ended(stage, made)
    assert ended.status is Status.COMPLETED
    assert Kind.POLL not in await stage.kinds(made.id)
    assert len(ended.deliveries) == 1


async def test_a_404_is_borne(stage: Stage) -> None:
    """It is no error of the upstream, so the watch goes on."""
    made = await watched(stage, *[UpstreamMissing()] * 4, Status.COMPLETED)
    await pass_seconds(stage, 5)
    assert (await is_ended(stage, made)).ended_ms == START_MS + 5_000


async def test_a_404_is_borne_for_two_minutes(stage: Stage) -> None:
    """A watch lasts so long only while a caller waits. Then the response is lost."""
    stage.upstream.course = [UpstreamMissing()]
    call = asyncio.create_task(created(stage))
    await is_watched(stage)
    while not call.done():
        await pass_seconds(stage, 1)
        assert stage.clock.ms <= START_MS + 135_000
    assert (await call)["error"]["code"] == "upstream_lost"
    assert stage.clock.ms >= START_MS + 120_000


@pytest.mark.parametrize("error", [UpstreamOversized(), UpstreamRedirected()])
async def test_an_answer_that_no_other_poll_would_change_ends_the_response(
    stage: Stage, error: UpstreamUnusable
) -> None:
    """It is over a limit, or a redirect."""
    made = await watched(stage, error)
    await pass_seconds(stage, 1)
    await is_ended(stage, made)
    assert (await stage.shown(made.id))["error"]["code"] == error.code
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_a_poll_of_a_caller_counts_for_the_watch(stage: Stage) -> None:
    """A GET and the watch share the poll under way. So the upstream is asked once."""
    made = await watched(stage, Status.COMPLETED)
    gate = stage.upstream.hold_polls()
    get = asyncio.create_task(stage.shown(made.id))
    await gate.reached.wait()
    await pass_seconds(stage, 1)
    gate.open()
    assert (await get)["status"] == "completed"
    await is_over(stage)
    assert stage.upstream.polls == 1
    assert await stage.kinds(made.id) == [Kind.PURGE]


# One end a process


async def test_a_get_in_the_process_ends_it_through_the_watch(stage: Stage) -> None:
    """The lease goes in the transaction of the end, and the watch asks the upstream no more."""
    made = await watched(stage, Status.COMPLETED)
    before = stage.proxy.counts.copy()
    assert (await stage.shown(made.id))["status"] == "completed"
    assert stage.proxy.counts - before == Counter({"GET responses(key)": 1, "POST $batch": 1})
    assert await stage.kinds(made.id) == [Kind.PURGE]
    await is_over(stage)
    await pass_seconds(stage, 3)
    assert stage.upstream.polls == 1


async def test_a_cancel_in_the_process_goes_through_the_watch(stage: Stage) -> None:
    """The lease goes in the transaction of the end, also while a poll is under way that shows another end."""
    made = await watched(stage, Status.COMPLETED)
    gate = stage.upstream.hold_polls()
    await pass_seconds(stage, 1)
    await gate.reached.wait()
    cancelled, _ = await stage.engine.cancel(ANN, made.id)
    gate.open()
    await is_over(stage)
    assert cancelled.status is Status.CANCELLED
    assert (await stage.record(made.id)).status is Status.CANCELLED
    assert await stage.kinds(made.id) == [Kind.STOP, Kind.PURGE]


async def test_ends_at_the_same_time_are_one_transaction(stage: Stage) -> None:
    """Ten callers and the watch see the end at once. One of them writes it, and nobody meets a conflict."""
    made = await watched(stage, Status.COMPLETED, callback_url=CALLBACK_URL)
    stage.receiver.is_full = True
    before = stage.proxy.counts["POST $batch"]
    shown = await asyncio.gather(*(stage.shown(made.id) for _ in range(10)), pass_seconds(stage, 1))
    assert {one["status"] for one in shown if one} == {"completed"}
    assert stage.proxy.counts["POST $batch"] - before == 1
