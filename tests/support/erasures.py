"""Erasures that are carried out, and the responses that they leave."""

from shared.contract.callers import Caller
from shared.core.errors import NotFound
from shared.core.records import Record
from shared.erasure.orders import Receipt, parse_order
from tests.support.stage import ANN, Stage


async def erased(stage: Stage, **query: str) -> Receipt:
    """Order an erasure of ann's, let it be carried out, and return its receipt."""
    stage.clock.advance(1)
    return await carried_out(stage, await stage.engine.erase(ANN, parse_order(query, ANN.name)), ANN)


async def carried_out(stage: Stage, ordered: Receipt, by: Caller) -> Receipt:
    """Sweep until an erasure is over, and return its receipt."""
    assert ordered["status"] == "in_progress"
    name = f"resp_{ordered['id'].removeprefix('erasure_')}"
    for _ in range(100):
        receipt = await stage.engine.erasure(by, ordered["id"])
        if receipt["status"] == "completed":
            return receipt
        await stage.fire_alarms(name)
    raise AssertionError("the erasure does not end")


async def is_there(stage: Stage, record: Record) -> bool:
    """Return whether the caller still sees a response."""
    try:
        await stage.engine.retrieve(Caller(record.caller, (), ()), record.id)
    except NotFound:
        return False
    return True


async def left(stage: Stage, *records: Record) -> list[Record]:
    """Return those of the responses that their callers still see."""
    return [record for record in records if await is_there(stage, record)]
