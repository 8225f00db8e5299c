"""Races: a delete during a start, and two sweeps that claim the same attempt."""

import asyncio

import pytest

from shared.core.alarms import Kind
from shared.core.errors import NotFound
from shared.core.ids import shard_of
from shared.core.records import Delivery, Record, Target
from shared.core.states import DeliveryState
from shared.scheduler.sweeps import sweep
from tests.support.clocks import START_MS
from tests.support.fakes.peers import Gate
from tests.support.stage import ANN, CALLBACK_HOST, CALLBACK_URL, Stage

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


async def test_of_two_sweeps_at_once_one_claims_the_attempt(stage: Stage) -> None:
    """If two processes sweep the same due alarm, only one moves it, and only that one sends the event."""
    stage.limit(watch=False)
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    others = [await stage.new_ports(stage.clock) for _ in range(3)]
    await asyncio.gather(*(sweep(ports, shard_of(response_id), 0) for ports in others))
    assert len(stage.receiver.posts) == 1
    assert await stage.delivery(response_id) == Delivery(
        Target.CALLBACK, DeliveryState.DELIVERED, attempt=1, host=CALLBACK_HOST
    )
