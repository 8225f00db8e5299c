"""Receipts of erasures: who reads them, how long they are kept, and what a crash does to them."""

import pytest

from shared.contract.callers import Caller
from shared.core.alarms import Kind
from shared.core.errors import NotFound
from shared.erasure.orders import parse_order
from tests.support.erasures import carried_out, erased, left
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import ANN, BOB, Stage

OPERATOR = Caller("ops", (), (), is_operator=True)
NOBODY = f"erasure_{'0' * 32}"


async def test_a_receipt_belongs_to_who_ordered_it(stage: Stage) -> None:
    """For others it does not exist."""
    ordered = await stage.engine.operators.erase(OPERATOR, "bob", parse_order({}, "bob", whole_caller=True))
    assert (await stage.engine.erasure(OPERATOR, ordered["id"]))["caller"] == "bob"
    for by, named in ((BOB, ordered["id"]), (ANN, ordered["id"]), (OPERATOR, NOBODY), (OPERATOR, "x")):
        with pytest.raises(NotFound):
            await stage.engine.erasure(by, named)


async def test_an_operator_erases_a_caller(stage: Stage) -> None:
    """All of it, and nothing of others."""
    mine, theirs = await stage.ended(), [await stage.ended(BOB), await stage.create(BOB, stream=True)]
    stage.clock.advance(1)
    ordered = await stage.engine.operators.erase(OPERATOR, "bob", parse_order({}, "bob", whole_caller=True))
    receipt = await carried_out(stage, ordered, OPERATOR)
    assert (receipt["cancelled"], receipt["deleted"]) == (1, 2)
    assert await left(stage, mine, *theirs) == [mine]


async def test_a_receipt_is_kept_for_thirty_days(stage: Stage) -> None:
    """Then it goes, and its alarm with it."""
    receipt = await erased(stage, before="5")
    name = f"resp_{receipt['id'].removeprefix('erasure_')}"
    (alarm,) = await stage.alarms(name)
    assert (alarm.kind, alarm.due_ms - stage.clock.ms) == (Kind.ERASE, 30 * 86_400_000)
    await stage.fire_alarms(name)
    assert await stage.alarms(name) == []
    with pytest.raises(NotFound):
        await stage.engine.erasure(ANN, receipt["id"])


async def test_a_receipt_outlives_a_crash_after_the_last_step(stage: Stage) -> None:
    """Its alarm was not set to the end of its time. It fires a minute later, and removes nothing."""
    ordered = await stage.engine.erase(ANN, parse_order({"before": "5"}, ANN.name))
    name = f"resp_{ordered['id'].removeprefix('erasure_')}"
    lost = [stage.proxy.lose(is_transaction, nth) for nth in (3, 4, 5)]  # behind the move of the alarm, and the row
    await stage.fire_alarms(name)
    assert all(one.happened.is_set() for one in lost)
    stage.proxy.heal()
    done = await stage.engine.erasure(ANN, ordered["id"])
    assert done["status"] == "completed"
    await stage.fire_alarms(name)
    assert await stage.engine.erasure(ANN, ordered["id"]) == done
    (alarm,) = await stage.alarms(name)
    assert alarm.due_ms == pytest.approx(stage.clock.ms + 30 * 86_400_000, abs=200_000)
