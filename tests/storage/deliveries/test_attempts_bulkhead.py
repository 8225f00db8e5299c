"""Delivery attempts and the bulkheads: first attempts and retries do not take each other's slots."""

from tests.support.stage import CALLBACK_URL, Stage


async def test_a_retry_takes_no_slot_of_a_first_attempt(stage: Stage) -> None:
    """Each request for a slot says whether it is for a first attempt.

    The first attempt takes a slot of the bulkhead for first attempts. All others take slots of the one for retries.
    """
    stage.receiver.answers = [500, 500, 200]
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    await stage.fire_alarms(response_id)
    await stage.fire_alarms(response_id)
    assert [first for first, _ in stage.receiver.asked] == [True, False, False]


async def test_a_first_attempt_without_a_slot_stays_a_first_attempt(stage: Stage) -> None:
    """A first attempt that was put off because the line was long is not counted, and stays a first attempt."""
    stage.receiver.is_busy = True
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    stage.receiver.is_busy = False
    await stage.fire_alarms(response_id)
    assert [first for first, _ in stage.receiver.asked] == [True]
    assert (await stage.delivery(response_id)).attempt == 1
