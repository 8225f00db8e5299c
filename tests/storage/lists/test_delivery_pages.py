"""The list of a caller's deliveries that are in trouble, on real storage."""

from typing import Any

from shared.core.outcomes import SendError
from shared.core.records import Record
from shared.lists.queries import RecoveryQuery, parse_deliveries
from shared.lists.views import DeliveryPage
from tests.support.clocks import START_MS
from tests.support.stage import ANN, BOB, CALLBACK_HOST, CALLBACK_URL, Stage


async def listed(stage: Stage, **query: str) -> DeliveryPage:
    """Return a page of ann's deliveries."""
    return await stage.engine.lists.deliveries_in_trouble(ANN, parse_deliveries(query))


async def states(stage: Stage, **query: str) -> list[tuple[str, str]]:
    """Return the response and the state of each delivery on the first page."""
    return [(item["response_id"], item["state"]) for item in (await listed(stage, **query))["data"]]


async def sent(stage: Stage, *answers: int | SendError, **fields: Any) -> Record:
    """Return a response whose callback gets these answers, after the first of them."""
    stage.receiver.answers = list(answers)
    record = await stage.ended(**{"callback_url": CALLBACK_URL, **fields})
    await stage.deliver()
    return record


async def test_a_delivery_is_listed_from_its_first_failure_until_it_is_accepted(stage: Stage) -> None:
    """A delivery that has had no trouble is in no list."""
    await sent(stage, 200)
    record = await sent(stage, 500, 500, 200)
    assert (await listed(stage))["data"] == [
        {
            "object": "delivery",
            "response_id": record.id,
            "target": "callback",
            "state": "pending",
            "host": CALLBACK_HOST,
            "since": START_MS // 1000,
        }
    ]
    await stage.fire_alarms(record.id)
    assert await states(stage) == [(record.id, "pending")]
    await stage.fire_alarms(record.id)
    assert await states(stage) == []


async def test_a_delivery_that_was_given_up_is_listed_until_it_is_begun_again(stage: Stage) -> None:
    """`state` chooses. A receiver's 410 is final, so nobody has to act on it."""
    failed = await sent(stage, 413)
    blocked = await sent(stage, SendError.URL_REFUSED)
    pending = await sent(stage, 500)
    await sent(stage, 410)
    stage.receiver.answers = [200]
    expected = {(failed.id, "failed"), (blocked.id, "blocked"), (pending.id, "pending")}
    assert {*await states(stage)} == expected
    for one in expected:
        assert await states(stage, state=one[1]) == [one]
    assert (await stage.engine.recover(ANN, RecoveryQuery(0)))["recovered"] == 2
    await stage.deliver()
    assert await states(stage) == [(pending.id, "pending")]


async def test_a_list_has_one_host(stage: Stage) -> None:
    """So one command shows what an outage of a receiver holds up."""
    record = await sent(stage, 500)
    other = await sent(stage, 500, callback_url="https://other.example.com/x")
    assert await states(stage, host=CALLBACK_HOST.upper()) == [(record.id, "pending")]
    assert await states(stage, host="other.example.com") == [(other.id, "pending")]


async def test_a_delivery_to_a_queue_has_no_host(stage: Stage) -> None:
    """All queues are on one account."""
    stage.replies.answers = [500]
    record = await stage.ended(reply_to="replies-1")
    await stage.deliver()
    (item,) = (await listed(stage))["data"]
    assert (item["response_id"], item["target"], item["host"]) == (record.id, "reply_queue", None)


async def test_pages_go_on_behind_each_other(stage: Stage) -> None:
    """The oldest come first. Other callers have lists of their own."""
    await sent(stage, 413, caller=BOB)
    expected = []
    for _ in range(5):
        expected.append((await sent(stage, 413)).id)
        stage.clock.advance(1)
    found, page = [], await listed(stage, limit="2")
    while True:
        found += [item["response_id"] for item in page["data"]]
        if page["next_after"] is None:
            break
        page = await listed(stage, limit="2", after=page["next_after"])
    assert found == expected


async def test_a_purge_removes_the_row_of_a_delivery_that_is_still_tried(stage: Stage) -> None:
    """Nothing of the response is left in any list."""
    record = await sent(stage, 500)
    await stage.engine.delete(ANN, record.id)
    stage.limit(retention_ms=1)
    stage.clock.advance(700)
    await stage.sweep(record.id)
    stage.clock.advance(700)
    await stage.sweep(record.id)
    assert await stage.ports.store.read(record.id) is None
    assert await states(stage) == []
