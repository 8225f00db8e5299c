"""What operators see and do, on real storage."""

from collections import Counter
from typing import Any

import orjson
import pytest

from shared.contract.callers import Caller
from shared.core.errors import BadRequest, NotFound, UpstreamUnavailable
from shared.core.ids import SHARDS, new_id
from shared.lists.queries import parse_deliveries, parse_responses
from tests.support.described_api import check
from tests.support.failed_deliveries import failed
from tests.support.log_capture import WrittenLines, log_lines
from tests.support.stage import ANN, BOB, CALLBACK_HOST, CALLBACK_URL, Stage

OPERATOR = Caller("ops", (), (), is_operator=True)
SECRET_TEXT = "the prompt that nobody else may read"


async def listed(stage: Stage, caller: str | None = None, **query: str) -> list[str]:
    """Return the ids of all pages of responses."""
    found, after = list[str](), dict[str, str]()
    while True:
        page = await stage.engine.operators.responses(parse_responses({**query, **after}), caller)
        found += [item["id"] for item in page["data"]]
        if page["next_after"] is None:
            return found
        after = {"after": page["next_after"]}


# Status


async def test_an_idle_service_has_nothing_to_show(stage: Stage) -> None:
    """Every part is there, and empty."""
    status = await stage.engine.operators.status()
    assert (status["in_flight"]["count"], status["alarms"]["overdue"], status["deliveries_in_trouble"]) == (0, 0, [])
    assert (status["this_process"], status["is_whole"]) == ({"last_hour": {}, "by_minute": []}, True)


async def test_the_status_shows_what_waits_and_why(stage: Stage) -> None:
    """Of all callers: what is in flight, what it waits for, what is overdue, and which receivers are in trouble.

    What waits in a line is not overdue. Its gate says how many wait.
    """
    polled = await stage.create(ANN)
    await failed(stage)
    stage.clock.advance(1)
    stage.upstream.start_errors = [UpstreamUnavailable("ConnectError")]
    await stage.create(BOB)
    stage.clock.advance(60)
    status = await stage.engine.operators.status()
    check("OperatorStatus", status)
    assert status["this_process"]["by_minute"]
    assert status["in_flight"]["by_caller"] == {"bob": 1, "ann": 1}
    assert status["in_flight"]["waiting"] == {"upstream_down": 1}
    assert status["in_flight"]["oldest"]["id"] == polled.id
    assert status["alarms"]["by_kind"] == {"poll": 1}
    assert [(one["state"], one["reason"], one["at_work"], one["waiting"]) for one in status["gates"]] == [
        ("closed", "upstream_down", 0, 1)
    ]
    assert [(one["host"], one["state"], one["count"]) for one in status["deliveries_in_trouble"]] == [
        (CALLBACK_HOST, "failed", 1)
    ]
    assert status["this_process"]["last_hour"] == {"accepted": 3, "completed": 1}


async def test_what_has_ended_well_costs_nothing(stage: Stage) -> None:
    """The status reads as many requests with a hundred ended responses as with none.

    It looks through four ranges of each shard, and asks which gates have rows.
    """
    counts = []
    for _ in range(2):
        before = stage.proxy.counts.copy()
        await stage.engine.operators.status()
        counts.append(stage.proxy.counts - before)
        for n in range(20):
            await stage.ended(key=f"{n}")
    assert counts == [Counter({"GET responses()": 4 * len(SHARDS) + 1})] * 2


# Lists


@pytest.mark.parametrize("order", ["desc", "asc"])
async def test_an_operator_lists_what_has_not_ended(stage: Stage, order: str) -> None:
    """Of all callers, with the filters of their own lists."""
    made = []
    for caller in (ANN, BOB, ANN, BOB):
        made.append((await stage.create(caller)).id)
        stage.clock.advance(1)
    await stage.ended()
    expected = made[::-1] if order == "desc" else made
    assert await listed(stage, order=order, limit="3") == expected
    assert await listed(stage, order=order, model="other") == []
    page = await stage.engine.operators.responses(parse_responses({"order": order, "after": expected[1]}), None)
    assert [item["id"] for item in page["data"]] == expected[2:]


async def test_an_operator_lists_all_of_one_caller(stage: Stage) -> None:
    """Ended ones too. Without a caller they are not listed, because that would read all that has ended."""
    mine, theirs = await stage.ended(ANN), await stage.ended(BOB)
    assert await listed(stage, "ann") == [mine.id]
    assert await listed(stage, "bob", status="completed") == [theirs.id]
    with pytest.raises(BadRequest) as refused:
        await listed(stage, status="completed")
    assert refused.value.param == "caller"


async def test_an_operator_lists_deliveries_in_trouble(stage: Stage) -> None:
    """Of all callers, or of one."""
    record = await failed(stage)
    for caller, expected in ((None, [record.id]), ("ann", [record.id]), ("bob", [])):
        page = await stage.engine.operators.deliveries(parse_deliveries({"state": "failed"}), caller)
        assert [(one["response_id"], one["caller"]) for one in page["data"]] == [(one, "ann") for one in expected]
    page = await stage.engine.operators.deliveries(parse_deliveries({"state": "pending"}), None)
    assert page["data"] == []


async def test_an_operator_reads_no_content(stage: Stage) -> None:
    """Whatever an operator can call, no answer has anything of the request or the output."""
    stage.upstream.output = SECRET_TEXT
    fields: dict[str, Any] = {"input": SECRET_TEXT, "metadata": {"k": SECRET_TEXT}, "instructions": SECRET_TEXT}
    live = await stage.create(**fields)
    ended = await stage.ended(callback_url=f"{CALLBACK_URL}?token=hidden", **fields)
    await stage.deliver()
    operators = stage.engine.operators
    answers = [
        await operators.status(),
        await operators.responses(parse_responses({}), None),
        await operators.responses(parse_responses({}), "ann"),
        await operators.cancel(OPERATOR, live.id),
        await operators.redeliver(OPERATOR, ended.id, None),
        await operators.deliveries(parse_deliveries({}), None),
    ]
    assert SECRET_TEXT not in orjson.dumps(answers).decode()
    assert "hidden" not in orjson.dumps(answers).decode()


# Acts


async def test_an_operator_cancels_and_redelivers(stage: Stage, written: WrittenLines) -> None:
    """The log says who it was."""
    live, lost = await stage.create(BOB), await failed(stage)
    assert (await stage.engine.operators.cancel(OPERATOR, live.id))["status"] == "cancelled"
    await stage.engine.operators.redeliver(OPERATOR, lost.id, "callback")
    await stage.deliver()
    assert (await stage.delivery(lost.id)).state == "delivered"
    acts = [line for line in log_lines(written) if line["event"].startswith("operator.")]
    assert acts == [
        {"event": "operator.cancelled", "operator": "ops", "response": live.id},
        {"event": "operator.redelivered", "operator": "ops", "response": lost.id},
    ]


async def test_what_does_not_exist_is_not_found(stage: Stage) -> None:
    """Neither does a response that its caller has deleted."""
    gone = await stage.ended()
    await stage.engine.delete(ANN, gone.id)
    for named in (gone.id, new_id(), "x"):
        with pytest.raises(NotFound):
            await stage.engine.operators.cancel(OPERATOR, named)
        with pytest.raises(NotFound):
            await stage.engine.operators.redeliver(OPERATOR, named, None)
