"""Turns: an upstream works on as many responses as it may, and each of the others waits with a reason."""

import asyncio

import pytest

from shared.core.alarms import Kind
from shared.core.errors import RefusedByUpstream, UpstreamRefused, UpstreamUnavailable, UpstreamUncertain
from shared.core.gates.state import Turn
from shared.core.ids import shard_of
from shared.core.records import Record, WaitInfo
from shared.core.states import Status, WaitReason
from shared.starts import turns
from shared.storage.messages import Wakeup
from shared.upstreams.specs import UpstreamSpec
from tests.invariants.lives import Life
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import ANN, BOB, Stage

AWAY = UpstreamUnavailable("ConnectError")
BUSY = UpstreamUnavailable("status 429", retry_after_s=20, waits_for=WaitReason.RATE_LIMIT)
DENIED = UpstreamUnavailable("status 401", waits_for=WaitReason.CREDENTIALS)


async def at_work(stage: Stage) -> int:
    """Return how many permits the gate of the default upstream has given."""
    state = await stage.ports.gates.look(stage.ports.upstreams.gate_named("default"))
    return state.used if state else 0


async def settled(stage: Stage, record: Record) -> Record:
    """Finish a response, and let the gate act on that."""
    ended = await stage.finish(record.id)
    await asyncio.gather(*stage.ports.background.tasks)
    await stage.gate_tasks.finished()
    return ended


async def test_what_is_over_the_limit_waits_for_its_turn(stage: Stage) -> None:
    """Its POST answers `queued` with its place. Its alarm stands at its deadline, so nothing rings meanwhile."""
    stage.treat(limits={"*": 1})
    first = await stage.create()
    waiting = []
    for _ in range(2):
        stage.clock.ms += 1  # places go by the time of the creation
        waiting.append(await stage.create())
    assert first.upstream.token
    assert stage.upstream.starts.total() == 1
    for place, one in enumerate(waiting, 1):
        assert (one.status, one.wait.reason, one.wait.place) == (Status.QUEUED, WaitReason.TURN, place)
        (alarm,) = await stage.alarms(one.id)
        assert (alarm.kind, alarm.due_ms) == (Kind.START, one.deadline_ms)
        assert (await stage.shown(one.id))["waiting"]["place"] == place


async def test_an_end_hands_its_permit_on(stage: Stage) -> None:
    """The next response is started by the process that ended the first one, without another alarm."""
    stage.treat(limits={"*": 1})
    made = []
    for _ in range(3):
        stage.clock.ms += 1  # the older one comes first
        made.append(await stage.create())
    for number, one in enumerate(made, 1):
        assert stage.upstream.starts.total() == number
        assert await at_work(stage) == 1
        assert (await settled(stage, one)).status is Status.COMPLETED
    assert await at_work(stage) == 0


async def test_callers_take_turns(stage: Stage) -> None:
    """A caller with nothing at work comes before a crowd."""
    stage.treat(limits={"*": 1})
    crowd = [await stage.create(ANN) for _ in range(4)]
    late = await stage.create(BOB)
    await settled(stage, crowd[0])
    assert (await stage.record(late.id)).upstream.token
    assert not (await stage.record(crowd[1].id)).upstream.token


@pytest.mark.parametrize("how", ["cancelled", "refused", "ended at once"])
async def test_every_end_gives_the_permit_back(stage: Stage, how: str) -> None:
    """A refused POST leaves nothing. Work that is stopped keeps its permit until the upstream has confirmed that."""
    stage.treat(limits={"*": 1})
    if how == "refused":
        stage.upstream.start_errors = [UpstreamRefused(400, "No.")]
        with pytest.raises(RefusedByUpstream):
            await stage.create()
    elif how == "ended at once":
        await stage.ended()
    else:
        made = await stage.create()
        await stage.engine.cancel(ANN, made.id)
        await asyncio.gather(*stage.ports.background.tasks)
        assert await at_work(stage) == 1
        await stage.fire_alarms(made.id)
    await asyncio.gather(*stage.ports.background.tasks)
    await stage.gate_tasks.finished()
    assert await at_work(stage) == 0


async def test_what_is_cancelled_in_the_line_leaves_it(stage: Stage) -> None:
    """It is never started, also not to learn what to stop."""
    stage.treat(limits={"*": 1}, honours_keys=True)
    first, second, third = [await stage.create() for _ in range(3)]
    await stage.engine.cancel(ANN, second.id)
    await asyncio.gather(*stage.ports.background.tasks)
    await settled(stage, first)
    assert (await stage.record(third.id)).upstream.token
    stage.clock.ms = second.deadline_ms
    await stage.sweep(second.id)
    assert second.id not in stage.upstream.starts


async def test_the_deadline_ends_what_waits(stage: Stage) -> None:
    """As it ends everything else."""
    stage.treat(limits={"*": 1})
    await stage.create()
    made = await stage.create()
    stage.clock.ms = made.deadline_ms
    await stage.sweep(made.id)
    assert (await stage.record(made.id)).error == "deadline_exceeded"


async def test_a_model_may_have_a_limit_of_its_own(stage: Stage) -> None:
    """Responses to it pass its gate alone."""
    stage.treat(limits={"big": 1})
    big, small = [await stage.create(model="big") for _ in range(2)], await stage.create(model="small")
    assert [bool((await stage.record(one.id)).upstream.token) for one in (*big, small)] == [True, False, True]
    assert await stage.ports.gates.registered() == ["default/big"]


async def test_what_is_cancelled_on_its_way_into_the_line_leaves_it(stage: Stage) -> None:
    """A refusal puts a response into the line that has just ended. It must not get the next permit."""
    stage.upstream.start_errors = [AWAY]
    gate = stage.upstream.hold_starts()
    creating = asyncio.create_task(stage.create())
    await gate.reached.wait()
    (response_id,) = stage.upstream.starts
    await stage.engine.cancel(ANN, response_id)
    gate.open()
    await creating
    await asyncio.gather(*stage.ports.background.tasks)
    state = await stage.ports.gates.look(stage.ports.upstreams.gate_named("default"))
    assert state
    assert (state.used, state.waiting) == (0, 0)


async def test_a_probe_whose_work_ends_at_once_opens_the_upstream(stage: Stage) -> None:
    """An answer is an answer, also if it is the last one."""
    stage.upstream.start_errors = [AWAY]
    made = [await stage.create() for _ in range(3)]
    stage.upstream.first = Status.COMPLETED
    await stage.fire_gates()
    assert [(await stage.record(one.id)).status for one in made] == [Status.COMPLETED] * 3


async def test_a_gate_that_is_slower_than_the_lease_starts_nothing_twice(stage: Stage) -> None:
    """Another process has started the response meanwhile, with the permit that this one has asked for."""
    stage.treat(limits={"*": 1})
    stage.upstream.honours_keys = False
    asked = stage.proxy.pause(lambda request: is_transaction(request) and b"gate" in request.body)
    life = Life(stage, "slow")
    creating = asyncio.create_task(life.create(stage.engine))
    await asked.reached.wait()
    stage.clock.ms += 31_000
    await (await stage.process()).sweep(Wakeup(shard_of(life.id), stage.clock.ms // 1000))
    asked.open()
    await creating
    assert stage.upstream.begun == {life.id: 1}
    assert await at_work(stage) == 1


# One refusal for all


@pytest.mark.parametrize(
    ("error", "reason", "wait_s"),
    [(AWAY, "upstream_down", 1), (BUSY, "rate_limit", 20), (DENIED, "credentials", 1)],
    ids=["away", "busy", "denied"],
)
async def test_a_refusal_closes_the_upstream_for_all(
    stage: Stage, error: UpstreamUnavailable, reason: str, wait_s: int
) -> None:
    """The others wait without a create. One probe asks again, and when it is accepted the others follow by steps."""
    stage.upstream.start_errors = [error]
    made = [await stage.create() for _ in range(8)]
    assert stage.upstream.starts.total() == 1
    assert {str(one.wait.reason) for one in made} == {reason}
    assert made[0].wait.detail == str(error)
    before_ms = stage.clock.ms
    await stage.fire_alarms(made[0].id)
    assert stage.clock.ms == before_ms + wait_s * 1000
    assert stage.upstream.starts.total() in (2, 4)
    for one in made:
        assert (await settled(stage, one)).status is Status.COMPLETED
    assert set(stage.upstream.begun.values()) == {1}
    await stage.fire_gates()
    assert await stage.ports.gates.registered() == []


async def test_an_outage_costs_one_create_an_interval(stage: Stage) -> None:
    """However many responses wait. The interval doubles up to a minute."""
    stage.upstream.start_errors = [AWAY] * 12
    made = [await stage.create() for _ in range(20)]
    assert stage.upstream.starts.total() == 1
    seconds = []
    for _ in range(9):
        before_ms = stage.clock.ms
        await stage.fire_gates()
        seconds.append((stage.clock.ms - before_ms) // 1000)
    assert seconds == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert stage.upstream.starts.total() == 10
    for one in made:
        assert (await settled(stage, one)).status is Status.COMPLETED


async def test_a_refused_request_is_an_answer_of_a_probe(stage: Stage) -> None:
    """The upstream takes work again, so the others follow at once and not after the time of the probe."""
    stage.upstream.start_errors = [AWAY, UpstreamRefused(400, "No.")]
    began_ms, wrong = stage.clock.ms, await stage.create()
    stage.clock.ms += 1  # older ones come first
    right = [await stage.create() for _ in range(2)]
    await stage.fire_gates()
    await asyncio.gather(*stage.ports.background.tasks)
    await stage.gate_tasks.finished()
    assert stage.clock.ms == began_ms + 1_000
    assert (await stage.record(wrong.id)).status is Status.FAILED
    assert [bool((await stage.record(one.id)).upstream.token) for one in right] == [True, True]


async def test_a_probe_that_has_ended_before_its_create_hands_its_permit_on(stage: Stage) -> None:
    """It was cancelled, and its place was not taken out of the line. The next response is the probe, at once."""
    stage.upstream.start_errors = [AWAY]
    began_ms, ended = stage.clock.ms, await stage.create()
    stage.clock.ms += 1  # older ones come first
    other = await stage.create()
    stage.proxy.refuse(lambda request: b"gate:" in request.body)
    await stage.engine.cancel(ANN, ended.id)
    await asyncio.gather(*stage.ports.background.tasks)
    stage.proxy.heal()
    await stage.gate_tasks.stopped()
    await stage.fire_gates()
    await asyncio.gather(*stage.ports.background.tasks)
    await stage.gate_tasks.finished()
    assert stage.clock.ms == began_ms + 1_000
    assert (await stage.record(other.id)).upstream.token


async def test_a_try_that_may_have_begun_keeps_its_permit(stage: Stage) -> None:
    """Its work may be at work upstream, so nobody else is started in its place."""
    stage.treat(limits={"*": 1})
    stage.upstream.start_errors = [UpstreamUncertain("ReadError")]
    first, second = await stage.create(), await stage.create()
    assert (await at_work(stage), second.wait.reason) == (1, WaitReason.TURN)
    await settled(stage, first)
    assert (await settled(stage, second)).status is Status.COMPLETED


async def test_the_first_open_upstream_gets_a_response(stage: Stage) -> None:
    """One that is closed, or full, is passed by. If none is open, the response waits at the first one."""
    eu, us = ScriptedUpstream(), ScriptedUpstream()
    stage.add_upstream(UpstreamSpec("eu", models=("gpt-*",), limits={"*": 1}, then=("us",)), eu)
    stage.add_upstream(UpstreamSpec("us", models=("gpt-*",), limits={"*": 1}), us)
    made = [await stage.create(model="gpt-5") for _ in range(3)]
    assert [one.upstream.name for one in made] == ["eu", "us", "eu"]
    assert made[2].wait.reason == WaitReason.TURN
    assert (eu.starts.total(), us.starts.total()) == (1, 1)


# What is shown


def test_a_place_is_shown_with_its_reason() -> None:
    """A reason that only a newer version knows is a turn."""
    shown = turns.waiting_for(WaitInfo(), Turn(3, "turn"), "", 1_000)
    assert (shown.reason, shown.place, shown.tries, shown.since_ms) == (WaitReason.TURN, 3, 0, 1_000)
    closed = turns.waiting_for(WaitInfo(), Turn(None, "rate_limit", 9_000), "status 429", 1_000)
    assert (closed.reason, closed.detail, closed.place, closed.tries, closed.next_ms) == (
        WaitReason.RATE_LIMIT,
        "status 429",
        0,
        1,
        9_000,
    )
    assert turns.waiting_for(WaitInfo(), Turn(1, "new reason"), "", 0).reason is WaitReason.TURN


def test_what_its_own_try_has_met_stays_when_it_asks_again() -> None:
    """It finds its upstream closed for the same reason. Another reason has no tries of its own."""
    met = WaitInfo("upstream_down", "status 500", 1, 5, 6)
    again = turns.waiting_for(met, Turn(2, "upstream_down", 9_000, "eu", 4), "", 1_000)
    assert again == WaitInfo("upstream_down", "status 500", 1, 5, 9_000, 2, "eu", 4)
    assert turns.waiting_for(again, Turn(1, "upstream_down", 9_500, "eu"), "", 2_000).number == 4
    assert turns.waiting_for(again, Turn(1, "turn", 0, "us"), "", 2_000) == WaitInfo("turn", "", 0, 2_000, 0, 1, "us")
