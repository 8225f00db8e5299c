"""Races: a delete during a start, and two claims in the same millisecond."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.core.alarms import Kind
from shared.core.errors import NotFound
from shared.core.ids import shard_of
from shared.core.records import Delivery, Record, Target
from shared.core.states import DeliveryState
from shared.deliveries.attempts import deliver_now
from shared.scheduler.sweeps import sweep
from shared.senders.admission import Admission
from tests.support.clocks import START_MS
from tests.support.fakes.peers import Gate, ScriptedReceiver
from tests.support.stage import ANN, CALLBACK_URL, Stage, until

# A delete during a start


async def deleted_while_starting(stage: Stage) -> "tuple[asyncio.Task[Record], Gate, str]":
    """Cancel and delete a response during its start.

    Returns the task that starts it, the gate that holds the start, and the id.
    """
    gate = stage.upstream.hold_starts()
    starter = asyncio.create_task(stage.create())
    await gate.reached.wait()
    (response_id,) = stage.upstream.starts
    await stage.engine.cancel(ANN, response_id)
    await stage.engine.delete(ANN, response_id)
    return starter, gate, response_id


async def run_out(stage: Stage, response_id: str) -> None:
    """Act on every alarm of a response."""
    while await stage.alarms(response_id):
        await stage.fire_alarms(response_id)


async def test_a_purge_waits_for_a_start_that_is_under_way(stage: Stage) -> None:
    """A purge keeps the record for a minute, in which a start under way can still return the upstream's token.

    Then the work is stopped and the upstream's copy is deleted.
    """
    starter, gate, response_id = await deleted_while_starting(stage)
    await stage.sweep(response_id)
    assert (await stage.record(response_id)).deleted
    gate.open()
    await starter
    assert Kind.STOP in await stage.kinds(response_id)

    await run_out(stage, response_id)
    assert stage.upstream.stopped == stage.upstream.forgotten == ["up_0"]
    assert stage.clock.ms == START_MS + 60_000
    assert await stage.ports.store.read(response_id) is None


async def test_work_whose_record_is_gone_is_stopped_at_once(stage: Stage) -> None:
    """If a start takes longer than the purge waits, its process stops the work itself.

    No row is left that could hold a stop alarm.
    """
    starter, gate, response_id = await deleted_while_starting(stage)
    await run_out(stage, response_id)
    assert await stage.ports.store.read(response_id) is None
    gate.open()
    with pytest.raises(NotFound):
        await starter
    assert stage.upstream.stopped == ["up_0"]


# Two claims


class SlowReceiver(ScriptedReceiver):
    """A receiver that admits the first attempt when the test opens its gate, and all others at once."""

    def __init__(self) -> None:
        super().__init__()
        self.first_may_enter = Gate()

    @asynccontextmanager
    async def admit(self, address: str, caller: str, *, first: bool, patience_s: float) -> AsyncIterator[Admission]:
        """Admit an attempt, the first one when the gate is open."""
        if not self.first_may_enter.reached.is_set():
            await self.first_may_enter.wait()
        async with super().admit(address, caller, first=first, patience_s=patience_s) as admitted:
            yield admitted


@pytest.mark.parametrize("by_sweep", [False, True], ids=["two messages", "message and sweep"])
async def test_two_claims_in_the_same_millisecond_send_once(stage: Stage, by_sweep: bool) -> None:
    """If two processes read the same record and make the same claim, only the first one sends the event."""
    receiver = stage.receiver = SlowReceiver()
    ours, theirs = await stage.new_ports(stage.clock), await stage.new_ports(stage.clock)
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    (hint,) = stage.deliveries()
    stage.clock.advance(15)
    second = asyncio.create_task(deliver_now(ours, hint.alarm_key))
    await receiver.first_may_enter.reached.wait()
    received = receiver.hold()
    first = asyncio.ensure_future(
        sweep(theirs, shard_of(response_id), 0) if by_sweep else deliver_now(theirs, hint.alarm_key)
    )
    await received.reached.wait()
    receiver.first_may_enter.open()

    async def is_decided() -> bool:
        return second.done() or len(receiver.posts) == 2

    await until(is_decided)
    received.open()
    await asyncio.gather(first, second)
    assert len(receiver.posts) == 1
    assert await stage.delivery(response_id) == Delivery(Target.CALLBACK, DeliveryState.DELIVERED, 1)
