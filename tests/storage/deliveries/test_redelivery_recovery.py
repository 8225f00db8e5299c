"""Recovery: a caller's failed deliveries are begun again, all of them or those of a time and a host."""

import asyncio
from dataclasses import replace

import pytest

from shared.core.errors import BadRequest
from shared.core.keys import LAST_MS, record_key
from shared.core.outcomes import SendError
from shared.lists.queries import RecoveryQuery
from tests.support.clocks import START_MS
from tests.support.failed_deliveries import failed
from tests.support.log_capture import WrittenLines, log_lines
from tests.support.stage import ANN, BOB, CALLBACK_HOST, CALLBACK_URL, Stage


async def test_a_recovery_begins_all_deliveries_that_failed_since_a_time(stage: Stage) -> None:
    """A recovery begins every delivery of the caller again that has failed since the given time.

    Earlier failures, deliveries that the receiver ended with 410 and other callers' deliveries do not change.
    """
    old = await failed(stage)
    stage.clock.advance(3_600)
    since_ms = stage.clock.ms
    recent = [await failed(stage, answer) for answer in (413, 404, SendError.URL_REFUSED, SendError.ADDRESS_REFUSED)]
    gone = await failed(stage, 410)
    theirs = await stage.ended(BOB, callback_url=CALLBACK_URL)
    stage.receiver.answers = [413]
    await stage.deliver()
    stage.receiver.answers = [200]

    assert await stage.engine.recover(ANN, RecoveryQuery(since_ms)) == {
        "object": "delivery.recovery",
        "recovered": len(recent),
        "has_more": False,
        "dry_run": False,
    }
    await stage.deliver()
    assert {(await stage.delivery(one.id)).state for one in recent} == {"delivered"}
    states = [(await stage.delivery(one.id)).state for one in (old, gone, theirs)]
    assert states == ["failed", "gone", "failed"]


async def test_a_recovery_has_an_end_and_a_host(stage: Stage) -> None:
    """A delivery that failed at `until` or later is left alone, and so is one that goes to another host."""
    first = await failed(stage)
    stage.clock.advance(60)
    until_ms = stage.clock.ms
    await failed(stage)
    there = RecoveryQuery(START_MS, until_ms, host=CALLBACK_HOST)
    assert (await stage.engine.recover(ANN, replace(there, host="example.com")))["recovered"] == 0
    assert (await stage.engine.recover(ANN, there))["recovered"] == 1
    await stage.deliver()
    assert (await stage.delivery(first.id)).state == "delivered"


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("ahead_ms", [1, 86_400_000, LAST_MS - START_MS])
async def test_a_recovery_since_a_time_to_come_is_refused(stage: Stage, ahead_ms: int, dry_run: bool) -> None:
    """It could only be a slip, such as a time in milliseconds."""
    record = await failed(stage)
    with pytest.raises(BadRequest) as refused:
        await stage.engine.recover(ANN, RecoveryQuery(stage.clock.ms + ahead_ms, dry_run=dry_run))
    assert (refused.value.param, refused.value.code) == ("since", "invalid_value")
    assert (await stage.delivery(record.id)).state == "failed"
    assert (await stage.engine.recover(ANN, RecoveryQuery(stage.clock.ms, dry_run=True)))["recovered"] == 1


async def test_a_dry_run_counts_and_begins_nothing(stage: Stage) -> None:
    """Whoever is about to send much can see how much it is."""
    record = await failed(stage)
    expected = {"object": "delivery.recovery", "recovered": 1, "has_more": False, "dry_run": True}
    assert await stage.engine.recover(ANN, RecoveryQuery(START_MS, dry_run=True)) == expected
    await stage.deliver()
    assert (await stage.delivery(record.id)).state == "failed"
    assert len(stage.receiver.posts) == 1


async def test_a_recovered_delivery_is_not_recovered_twice(stage: Stage) -> None:
    """A second recovery finds only deliveries that have failed again."""
    record = await failed(stage)
    stage.receiver.answers = [413]
    gate = stage.receiver.hold()
    assert (await stage.engine.recover(ANN, RecoveryQuery(START_MS)))["recovered"] == 1
    assert (await stage.engine.recover(ANN, RecoveryQuery(START_MS)))["recovered"] == 0
    gate.open()
    await stage.deliver()
    assert (await stage.delivery(record.id)).state == "failed"
    assert (await stage.engine.recover(ANN, RecoveryQuery(START_MS)))["recovered"] == 1


async def test_recoveries_at_once_share_the_work(stage: Stage) -> None:
    """When recoveries run at the same time, each delivery begins again once."""
    records = [await failed(stage) for _ in range(6)]
    await asyncio.gather(*(stage.engine.recover(ANN, RecoveryQuery(START_MS)) for _ in range(3)))
    await stage.deliver()
    assert len(stage.receiver.posts) == 2 * len(records)


async def test_a_delivery_that_failed_by_our_fault_is_recovered_too(stage: Stage) -> None:
    """A recovery includes a delivery that was given up because this service failed again and again."""
    stage.receiver.is_busy = True
    record = await stage.ended(callback_url=CALLBACK_URL)
    await stage.put(record.id, record_key(record.id), body=b"damaged")
    stage.receiver.is_busy = False
    while (await stage.delivery(record.id)).is_open:
        await stage.fire_alarms(record.id)
    await stage.put(record.id, record_key(record.id), body=record.body)
    assert (await stage.engine.recover(ANN, RecoveryQuery(START_MS)))["recovered"] == 1
    await stage.deliver()
    assert (await stage.delivery(record.id)).state == "delivered"


async def test_a_record_of_a_newer_version_stops_no_other(stage: Stage, written: WrittenLines) -> None:
    """Such a record is logged, and its delivery is left to the newer version."""
    newer, *others = [await failed(stage) for _ in range(3)]
    await stage.put(newer.id, record_key(newer.id), facts='{"deliveries": [{"target": "newer"}]}')
    assert (await stage.engine.recover(ANN, RecoveryQuery(START_MS)))["recovered"] == len(others)
    (line,) = [line for line in log_lines(written) if line["event"] == "row.unreadable"]
    assert line["key"] == record_key(newer.id)


async def test_a_purged_response_leaves_nothing_to_recover(stage: Stage) -> None:
    """A purge removes the index row of a failed delivery with its response."""
    record = await failed(stage)
    await stage.engine.delete(ANN, record.id)
    stage.clock.advance(120)
    for _ in range(3):
        await stage.sweep(record.id)
    assert await stage.ports.store.read(record.id) is None
    assert (await stage.engine.recover(ANN, RecoveryQuery(START_MS)))["recovered"] == 0
