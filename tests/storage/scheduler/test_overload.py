"""Overload: work that cannot be done in time is not counted as an attempt, fails nothing and leaves nothing behind.

The clock of these tests' event loop can be put forward, so that no test waits for a real deadline.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest

from shared.core import blobs
from shared.core.alarms import LEASE_MS, Kind
from shared.core.errors import UpstreamError, UpstreamUnavailable, UpstreamUncertain
from shared.core.gates.state import Phase
from shared.core.ids import shard_of
from shared.core.records import Delivery, Record, Target
from shared.core.states import DeliveryState, Status
from shared.runtime.ports import Ports
from shared.runtime.single_flight import KEPT_S
from shared.scheduler.sweeps import MAX_S, sweep
from shared.storage.store import MOVES_PER_TRANSACTION
from shared.transitions import response_transitions
from shared.upstreams.protocol import Progress
from shared.upstreams.responses_api import CALL_DEADLINE_S, START_DEADLINE_S
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.fakes.peers import Gate, Outcome, ScriptedUpstream
from tests.support.fast_loop import BACKEND, skip
from tests.support.sent_messages import wakeup
from tests.support.stage import CALLBACK_HOST, CALLBACK_URL, Stage

BACKLOG = 400
HOUR_MS = 3_600_000
HANGING = UpstreamUnavailable("no answer within 10 s")
UNKNOWN = UpstreamUncertain("no answer within 10 s")
AWAY = UpstreamUnavailable("ConnectTimeout")


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run the tests on a loop whose clock can be put forward."""
    return BACKEND


async def renew(stage: Stage) -> None:
    """Replace the stage's ports, so that its process uses the peers that the stage has now."""
    stage.ports = await stage.new_ports(stage.clock)
    stage.limit()


# Slow polls


class SlowUpstream(ScriptedUpstream):
    """An upstream whose polls wait in a line until the test opens the gate of the first one."""

    def __init__(self) -> None:
        super().__init__()
        self.line: deque[Gate] = deque()

    async def poll(self, token: str, include: Sequence[str] = ()) -> Progress:
        """Join the line, and answer once the gate is open."""
        self.line.append(gate := Gate())
        await gate.wait()
        return await super().poll(token, include)


async def ring_apart(ports: Ports, response_id: str, line: deque[Gate]) -> "asyncio.Task[int]":
    """Sweep the shard of a response in another process.

    Return the sweep once its poll is in the line, or once it ended.
    """
    waiting = len(line)
    ring = asyncio.create_task(sweep(ports, shard_of(response_id), 0))

    async def is_asking() -> bool:
        return len(line) > waiting or ring.done()

    await until(is_asking)
    return ring


async def play(stage: Stage, upstream: SlowUpstream, response_id: str, delay_s: float) -> Record:
    """Sweep at the due time of every poll, each time in another process, and delay each answer by `delay_s` seconds.

    Returns the ended record.
    """
    answers: deque[tuple[int, asyncio.Task[int]]] = deque()
    while not (record := await stage.record(response_id)).status.is_terminal:
        due_ms = (await stage.alarms(response_id))[0].due_ms
        if answers and answers[0][0] <= due_ms:
            stage.clock.ms, ring = answers.popleft()
            upstream.line.popleft().open()
            await ring
        else:
            stage.clock.ms = max(stage.clock.ms, due_ms)
            ring = await ring_apart(await stage.new_ports(stage.clock), response_id, upstream.line)
            answers.append((stage.clock.ms + int(delay_s * 1000), ring))
    for gate in upstream.line:
        gate.open()
    await asyncio.gather(*(ring for _, ring in answers))
    return record


@pytest.mark.parametrize(
    ("delay_s", "course"),
    [(2.5, [Status.IN_PROGRESS] * 20), (CALL_DEADLINE_S, [HANGING] * 10)],
    ids=["slow", "hanging"],
)
async def test_polls_that_overlap_do_not_fail_the_response(stage: Stage, delay_s: float, course: list[Outcome]) -> None:
    """A response completes even if every poll becomes due before the one before it has been answered."""
    upstream = stage.upstream = SlowUpstream()
    upstream.course = [*course, Status.COMPLETED]
    await renew(stage)
    made = await stage.create()
    ended = await play(stage, upstream, made.id, delay_s)
    assert ended.status is Status.COMPLETED
    assert upstream.polls > len(course)


async def test_polls_leave_nothing_behind(stage: Stage) -> None:
    """One second after the last poll, the process keeps no poll of a sweep or a caller."""
    stage.upstream.course = [Status.IN_PROGRESS]
    made = [await stage.create() for _ in range(3)]
    stage.clock.advance(1)
    for record in made:
        await stage.sweep(record.id)
        await stage.shown(record.id)
    assert stage.ports.polls

    async def is_empty() -> bool:
        return not stage.ports.polls

    skip(KEPT_S)
    await until(is_empty, KEPT_S)


# A backlog


class HangingUpstream(ScriptedUpstream):
    """An upstream that answers no start, so that each start reaches its deadline."""

    def __init__(self, error: UpstreamError) -> None:
        super().__init__()
        self.hanging = 0
        self._error = error

    async def start(self, request: dict[str, Any], key: str) -> Progress:
        """Let the call reach its deadline."""
        self.hanging += 1
        await asyncio.sleep(START_DEADLINE_S)
        self.hanging -= 1
        self.start_errors.append(self._error)
        return await super().start(request, key)


async def accept(stage: Stage, response_id: str) -> None:
    """Accept a response whose process crashes before it starts the work."""
    record = Record(response_id, "ann", created_ms=START_MS, deadline_ms=START_MS + HOUR_MS)
    await stage.ports.store.commit(response_transitions.accept(record, blobs.pack({"input": "question"}), START_MS))


async def accept_backlog(stage: Stage, count: int) -> list[str]:
    """Let so many starts of one shard be due whose process has crashed. Return the ids of the responses."""
    ids = [f"resp_a{n:031x}" for n in range(count)]
    for start in range(0, count, 50):
        await asyncio.gather(*(accept(stage, one) for one in ids[start : start + 50]))
    stage.clock.advance(LEASE_MS[Kind.START] / 1000)
    return ids


async def test_a_backlog_fails_nothing_and_counts_only_attempts_that_were_made(stage: Stage) -> None:
    """If 400 starts are due and the upstream hangs, a sweep takes as many as fit in a minute and wakes the shard again.

    The starts that it took fail with an expected error, and the others do not change. No alarm comes nearer to being
    given up. The upstream has the requests, so its gate stays open. It honours the key, so no try counts.
    """
    stage.treat(honours_keys=True)
    upstream = stage.upstream = HangingUpstream(UNKNOWN)
    await renew(stage)
    ids = await accept_backlog(stage, BACKLOG)
    before = (await stage.ports.store.agenda("a", stage.clock.ms, BACKLOG)).due
    sweeping = asyncio.create_task(stage.sweep(ids[0]))

    for batch in range(int(MAX_S / START_DEADLINE_S)):

        async def is_stuck(put_back: int = batch * MOVES_PER_TRANSACTION) -> bool:
            alarms = (await stage.ports.store.agenda("a", stage.clock.ms + HOUR_MS, BACKLOG)).due
            return upstream.hanging >= MOVES_PER_TRANSACTION and sum(alarm.tries for alarm in alarms) == put_back

        await until(is_stuck)
        skip(START_DEADLINE_S)
        stage.clock.advance(START_DEADLINE_S)

    taken = await sweeping
    assert taken == upstream.starts.total() == 3 * MOVES_PER_TRANSACTION
    assert wakeup(stage.clock.ms // 1000, 0) in stage.sent
    after = (await stage.ports.store.agenda("a", stage.clock.ms + HOUR_MS, BACKLOG)).due
    assert [(alarm.kind, alarm.attempt) for alarm in after] == [(Kind.START, 0)] * BACKLOG
    assert {alarm.key for alarm in after if not alarm.tries} == {alarm.key for alarm in before[taken:]}
    assert await stage.ports.gates.registered() == []


async def test_a_backlog_of_an_upstream_that_is_away_waits_in_its_line(stage: Stage) -> None:
    """If 200 starts are due and there is no connection, the first 100 of a sweep wait for it, and the others do not.

    The first failure closes the gate, so the sweep puts all of them into the line. Nothing fails, and no try counts but
    the first one of each, which a crash has cut off.
    """
    upstream = stage.upstream = HangingUpstream(AWAY)
    await renew(stage)
    ids = await accept_backlog(stage, count := 2 * MOVES_PER_TRANSACTION)
    sweeping = asyncio.create_task(stage.sweep(ids[0]))

    async def is_stuck() -> bool:
        return upstream.hanging >= MOVES_PER_TRANSACTION

    await until(is_stuck)
    skip(START_DEADLINE_S)
    assert await sweeping == count
    assert upstream.starts.total() == MOVES_PER_TRANSACTION
    alarms = (await stage.ports.store.agenda("a", START_MS + 2 * HOUR_MS, 1_000)).due
    assert {(alarm.kind, alarm.tries, alarm.attempt, alarm.counted) for alarm in alarms} == {(Kind.START, 0, 0, 1)}
    assert len(alarms) == count
    assert min(alarm.due_ms for alarm in alarms) >= START_MS + HOUR_MS
    (name,) = await stage.ports.gates.registered()
    outlook = await stage.ports.gates.round(stage.ports.upstreams.gate_named(name))
    assert outlook
    assert (outlook.phase, outlook.used, outlook.waiting) == (Phase.CLOSED, 0, count)


# A slow receiver


async def test_a_callback_without_a_slot_is_neither_counted_nor_given_up(stage: Stage) -> None:
    """A callback without a free bulkhead slot stays pending for minutes with no attempt counted.

    It is delivered once a slot is free.
    """
    stage.receiver.is_busy = True
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    for _ in range(12):
        await stage.fire_alarms(response_id)
    delivery = await stage.delivery(response_id)
    assert (delivery.state, delivery.attempt) == ("pending", 0)
    assert stage.clock.ms < START_MS + 300_000

    stage.receiver.is_busy = False
    await stage.fire_alarms(response_id)
    assert await stage.delivery(response_id) == Delivery(
        Target.CALLBACK, DeliveryState.DELIVERED, attempt=1, host=CALLBACK_HOST
    )
