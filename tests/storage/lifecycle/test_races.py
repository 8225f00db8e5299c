"""Two at the same time: a delete during a start, two claims in one millisecond."""

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
    """Cancel and delete a response whose start is at the upstream; return the starter, what holds it, and the id."""
    gate = stage.upstream.hold_starts()
    starter = asyncio.create_task(stage.create())
    await gate.reached.wait()
    (response_id,) = stage.upstream.starts
    await stage.engine.cancel(ANN, response_id)
    await stage.engine.delete(ANN, response_id)
    return starter, gate, response_id


async def run_out(stage: Stage, response_id: str) -> None:
    """Ring every alarm of a response."""
    while await stage.alarms(response_id):
        await stage.ring(response_id)


async def test_a_purge_waits_for_the_start_to_tell_what_to_stop(stage: Stage) -> None:
    """The record outlives the delete by a minute: the token that comes then is stopped, and its copy deleted."""
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
    """The start takes longer than a purge waits: no row can hold what to stop, so its starter tells the upstream."""
    starter, gate, response_id = await deleted_while_starting(stage)
    await run_out(stage, response_id)
    assert await stage.ports.store.read(response_id) is None
    gate.open()
    with pytest.raises(NotFound):
        await starter
    assert stage.upstream.stopped == ["up_0"]


# Two claims


class SlowDoor(ScriptedReceiver):
    """A receiver at which the first attempt waits to be admitted until the test lets it in; all others go past it."""

    def __init__(self) -> None:
        super().__init__()
        self.door = Gate()

    @asynccontextmanager
    async def admit(self, address: str, caller: str, *, first: bool, patience_s: float) -> AsyncIterator[Admission]:
        """Admit an attempt, the first one when its door is opened."""
        if not self.door.reached.is_set():
            await self.door.wait()
        async with super().admit(address, caller, first=first, patience_s=patience_s) as admission:
            yield admission


@pytest.mark.parametrize("by_sweep", [False, True], ids=["two messages", "message and sweep"])
async def test_two_that_claim_in_the_same_millisecond_send_once(stage: Stage, by_sweep: bool) -> None:
    """Two processes have read the same record and make the same claim, down to its key: only the first one sends."""
    receiver = stage.receiver = SlowDoor()
    ours, theirs = await stage.new_ports(stage.clock), await stage.new_ports(stage.clock)
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    (hint,) = stage.deliveries()
    stage.clock.advance(15)
    second = asyncio.create_task(deliver_now(ours, hint.alarm_key))
    await receiver.door.reached.wait()
    received = receiver.hold()
    first = asyncio.ensure_future(
        sweep(theirs, shard_of(response_id), 0) if by_sweep else deliver_now(theirs, hint.alarm_key)
    )
    await received.reached.wait()
    receiver.door.open()

    async def is_decided() -> bool:
        return second.done() or len(receiver.posts) == 2

    await until(is_decided)
    received.open()
    await asyncio.gather(first, second)
    assert len(receiver.posts) == 1
    assert await stage.delivery(response_id) == Delivery(Target.CALLBACK, DeliveryState.DELIVERED, 1)
