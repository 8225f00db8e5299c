"""Permits: a response begins at the first upstream that has one free, whatever its process knows of the gates."""

import asyncio
from typing import Any, cast
from urllib.parse import unquote

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.errors import StoreError, StoreRefused, StoreUnavailable, UpstreamUnavailable
from shared.core.gates import gate_keys
from shared.core.gates.state import Gate, GateState
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.core.states import Status, WaitReason
from shared.starts import failed_starts, permits
from shared.starts.rerouting import Round
from shared.upstreams.specs import UpstreamSpec
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.log_capture import WrittenLines, log_events
from tests.support.proxies.fault_proxy import StorageRequest, is_transaction
from tests.support.stage import Stage

AWAY = UpstreamUnavailable("ConnectError")
DENIED = UpstreamUnavailable("status 401", waits_for=WaitReason.CREDENTIALS)
BUSY = UpstreamUnavailable("status 429", retry_after_s=30, waits_for=WaitReason.RATE_LIMIT)


def two(stage: Stage, eu: int | None = 1, us: int | None = 1, *, is_background: bool = True) -> None:
    """Add two upstreams with these limits. The first one passes on to the second what it cannot begin."""
    for name, limit, then in (("eu", eu, ("us",)), ("us", us, ())):
        upstream, limits = ScriptedUpstream(), {"*": limit} if limit else {}
        upstream.is_background = is_background
        spec = UpstreamSpec(name, models=("gpt-*",), is_background=is_background, limits=limits, then=then)
        stage.add_upstream(spec, upstream)


def peer(stage: Stage, name: str) -> ScriptedUpstream:
    """Return one of the two upstreams."""
    return cast("ScriptedUpstream", stage.ports.upstreams.named(name).upstream)


async def create(stage: Stage, **fields: Any) -> Record:
    """Create a response in a process that has not seen the gates."""
    stage.clock.ms += 1  # places go by the time of the creation
    own, stage.engine = stage.engine, await stage.process()
    try:
        return await stage.create(model="gpt-5", **fields)
    finally:
        stage.engine = own


async def gate(stage: Stage, name: str) -> GateState:
    """Return a gate as it is stored."""
    return await stage.ports.gates.look(Gate(name, 1)) or GateState()


async def test_what_is_full_is_passed_by(stage: Stage) -> None:
    """By a process that takes the first one for free. If all are full, the response waits in the line of the first."""
    two(stage)
    made = [await create(stage) for _ in range(3)]
    assert [one.upstream.name for one in made] == ["eu", "us", "eu"]
    assert [bool(one.upstream.token) for one in made] == [True, True, False]
    assert (made[2].wait.reason, made[2].wait.place) == (WaitReason.TURN, 1)
    states = [await gate(stage, name) for name in ("eu", "us")]
    assert [(one.used, one.waiting) for one in states] == [(1, 1), (1, 0)]


async def test_what_is_closed_is_passed_by(stage: Stage) -> None:
    """By a process that takes the first one for open again. It has refused another process meanwhile."""
    two(stage, None, None)
    peer(stage, "eu").start_errors = [AWAY, BUSY]
    made = [await stage.create(model="gpt-5")]
    stage.clock.ms += 1_001
    made += [await create(stage), await stage.create(model="gpt-5")]
    assert [one.upstream.name for one in made] == ["us", "us", "us"]
    assert all(one.upstream.token for one in made)
    assert peer(stage, "eu").starts.total() == 2
    assert (await gate(stage, "eu")).waiting == 0


async def test_what_continues_a_response_waits_where_that_is(stage: Stage) -> None:
    """No other upstream has it, however free it is."""
    two(stage)
    peer(stage, "eu").first = Status.COMPLETED
    previous = await create(stage)
    peer(stage, "eu").first = Status.QUEUED
    await create(stage)
    made = await create(stage, previous_response_id=previous.id)
    assert (made.upstream.name, made.wait.reason) == ("eu", WaitReason.TURN)


async def test_an_upstream_whose_gate_cannot_be_asked_is_passed_by(stage: Stage) -> None:
    """The response waits at the first one, as if the others were full."""
    two(stage)
    await create(stage)
    hidden = gate_keys.gate_partition("us")
    stage.proxy.refuse(lambda request: hidden in unquote(request.path) or hidden.encode() in request.body)
    made = await create(stage)
    stage.proxy.heal()
    assert (made.upstream.name, made.wait.reason) == ("eu", WaitReason.TURN)


async def test_a_run_is_passed_on_before_it_is_offered(stage: Stage) -> None:
    """Its record names the upstream whose permit it has."""
    two(stage, is_background=False)
    made = [await create(stage, stream=True) for _ in range(3)]
    assert [one.upstream.name for one in made] == ["eu", "us", "eu"]
    assert [await stage.kinds(one.id) for one in made] == [[Kind.RUN], [Kind.RUN], [Kind.START]]
    assert made[2].wait.reason == WaitReason.TURN


# Storage that fails


def of_gate(request: StorageRequest) -> bool:
    """Return whether a request is about a gate."""
    return "gate:" in unquote(request.path) or b"gate:" in request.body


async def ring(stage: Stage, response_id: str, times: int) -> Alarm:
    """Let the alarm of a response ring, and return it."""
    for _ in range(times):
        await stage.fire_alarms(response_id)
    (alarm,) = await stage.alarms(response_id)
    return alarm


@pytest.mark.parametrize("honours", [True, False])
@pytest.mark.parametrize("then", [(), ("us",)], ids=["one", "two"])
async def test_a_gate_that_cannot_be_asked_ends_no_response(stage: Stage, then: tuple[str, ...], honours: bool) -> None:
    """A try that was never made does not count, and neither does the ring of the alarm, however long that lasts."""
    upstream = ScriptedUpstream()
    upstream.honours_keys = honours
    spec = UpstreamSpec("eu", models=("gpt-*",), limits={"*": 1}, then=then, honours_keys=honours)
    stage.add_upstream(spec, upstream)
    stage.add_upstream(UpstreamSpec("us", models=("gpt-*",), limits={"*": 1}), ScriptedUpstream())
    stage.proxy.refuse(of_gate)
    made = await create(stage)
    alarm = await ring(stage, made.id, 7)
    assert (alarm.kind, alarm.counted, alarm.attempt) == (Kind.START, 0, 0)
    stage.proxy.heal()
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert upstream.starts == {made.id: 1}


async def test_a_gate_that_could_not_be_asked_once_pins_no_response(stage: Stage, written: WrittenLines) -> None:
    """Nothing was sent, so another upstream may begin it, and nothing is repeated."""
    two(stage)
    await create(stage)
    stage.proxy.refuse(of_gate)
    made = await create(stage)
    stage.proxy.heal()
    await ring(stage, made.id, 1)
    record = await stage.record(made.id)
    assert (record.upstream.name, bool(record.upstream.token)) == ("us", True)
    assert "start.repeated" not in log_events(written)


@pytest.mark.parametrize("others", [1, 2], ids=["moves on", "waits"])
async def test_a_record_that_cannot_be_written_ends_no_response(stage: Stage, others: int) -> None:
    """It has a permit of the second upstream, or a place in the line of the first one, and its record cannot say so."""
    two(stage)
    first, *_ = [await create(stage) for _ in range(others)]
    works = [work for name in ("eu", "us") for work in peer(stage, name).works.values()]
    for work in works:
        work.course = [Status.IN_PROGRESS]  # also if a sweep of this shard polls it
    stage.proxy.refuse(lambda request: is_transaction(request) and b"resp%7Cresp_" in request.body)
    made = await create(stage)
    alarm = await ring(stage, made.id, 7)
    assert (alarm.kind, alarm.counted, alarm.attempt) == (Kind.START, 0, 0)
    stage.proxy.heal()
    await ring(stage, made.id, 1)
    record = await stage.record(made.id)
    assert (record.upstream.name, record.wait.reason) == (("us", "") if others == 1 else ("eu", WaitReason.TURN))
    for work in works:
        work.course = [Status.COMPLETED]
    await stage.finish(first.id)
    assert (await stage.finish(made.id)).status is Status.COMPLETED


async def test_a_gate_that_cannot_be_closed_ends_no_response(stage: Stage) -> None:
    """The upstream has begun nothing. Its refusals do not count, whether or not its gate hears of them."""
    two(stage, None, None)
    eu = peer(stage, "eu")
    eu.honours_keys, eu.start_errors = False, [DENIED] * 6
    stage.proxy.refuse(of_gate)
    made = await create(stage)
    alarm = await ring(stage, made.id, 5)
    assert (alarm.counted, eu.starts[made.id]) == (0, 6)
    assert (await stage.record(made.id)).wait.reason == WaitReason.CREDENTIALS
    assert (await stage.finish(made.id)).status is Status.COMPLETED


@pytest.mark.parametrize(
    ("error", "late_ms", "attempt"), [(StoreUnavailable(), 1, 3), (StoreUnavailable(), 0, 4), (StoreRefused(), 1, 4)]
)
async def test_what_is_no_outage_is_given_up(stage: Stage, error: StoreError, late_ms: int, attempt: int) -> None:
    """A refusal of storage would come again, and after the deadline only the end is left. So these attempts count."""
    stage.treat(limits={"*": 1})
    await stage.create()
    made = await stage.create()
    (alarm,) = await stage.alarms(made.id)
    rung = alarm.at(stage.clock.ms + 30_000, attempt=4, counted=1)
    (rung,) = await stage.ports.store.move(shard_of(made.id), [(alarm, rung)])
    stage.clock.ms = made.deadline_ms - late_ms
    await failed_starts.take_back(stage.ports, rung, error)
    (after,) = await stage.alarms(made.id)
    assert (after.counted, after.attempt) == (0, attempt)


# Races


@pytest.mark.parametrize("is_granted", [False, True], ids=["waits", "is granted meanwhile"])
async def test_a_response_that_moves_out_of_a_line_gives_back_what_it_has_there(stage: Stage, is_granted: bool) -> None:
    """A try that died has put it there. The first upstream may grant it a permit while the record is written."""
    two(stage)
    first, second, made = [await create(stage) for _ in range(3)]
    (alarm,) = await stage.alarms(made.id)
    lease = alarm.at(stage.clock.ms + 15_000)
    await stage.ports.store.move(shard_of(made.id), [(alarm, lease)])
    (lease,) = await stage.alarms(made.id)
    await stage.ports.gates.release(Gate("us", 1), second.id, second.caller)
    moves = stage.proxy.pause(lambda request: is_transaction(request) and b"gate:" not in request.body)
    ports = await stage.new_ports(stage.clock)
    taking = asyncio.create_task(permits.take_permit(ports, Round(ports, {}), made, lease, again=True))
    await moves.reached.wait()
    if is_granted:
        await stage.ports.gates.release(Gate("eu", 1), first.id, first.caller)
        await stage.gate_tasks.finished()
        assert await ports.gates.holds(Gate("eu", 1), made.id)
    moves.open()
    taken = await taking
    assert isinstance(taken, tuple)
    assert (taken[0].upstream.name, taken[1].due_ms) == ("us", stage.clock.ms + 30_000)
    states = [await gate(stage, name) for name in ("eu", "us")]
    assert [(one.used, one.waiting) for one in states] == [(0 if is_granted else 1, 0), (1, 0)]


async def test_a_grant_on_the_way_back_into_the_first_line_is_kept(stage: Stage) -> None:
    """The record names the first upstream before its line has the response. So nobody takes the grant for a stray."""
    two(stage, None, None)
    peer(stage, "eu").start_errors, peer(stage, "us").start_errors = [AWAY], [BUSY]
    at_deadline = f"alarm|{stage.clock.ms + 1 + stage.ports.config.limits.deadline_ms:013d}|start".encode()
    waits = stage.proxy.pause(lambda request: is_transaction(request) and at_deadline in request.body)
    creating = asyncio.create_task(create(stage))
    await waits.reached.wait()
    for _ in range(2):
        await stage.fire_gates()
    waits.open()
    made = await creating
    stage.clock.ms += 61_000
    await stage.ports.gates.round(Gate("eu", None))
    await stage.gate_tasks.finished()
    record = await stage.record(made.id)
    assert (record.upstream.name, bool(record.upstream.token)) == ("eu", True)
    assert [peer(stage, name).starts.total() for name in ("eu", "us")] == [2, 1]
