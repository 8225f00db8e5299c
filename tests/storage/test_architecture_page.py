"""The rows in docs/architecture.md are those that the life of a response leaves in storage."""

import asyncio
import re

from local.stack.process import ROOT
from shared.core.ids import tag
from shared.core.states import Status
from tests.support.stage import CALLBACK_URL, Stage

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


async def keys(stage: Stage, response_id: str) -> set[str]:
    """Return the keys of all rows, with the id and the hash of the caller shortened as on the page."""
    rows = [str(row["RowKey"]) async for row in (await stage.table()).list_entities()]
    return {key.replace(response_id, "resp_62…").replace(tag("ann"), "4991…") for key in rows}


async def record_id(stage: Stage) -> str:
    """Return the id of the only response."""
    rows = [str(row["RowKey"]) async for row in (await stage.table()).list_entities()]
    return min(key for key in rows if key.startswith("resp|")).split("|")[1]


async def test_the_rows_are_those_of_a_response_with_a_callback(stage: Stage) -> None:
    """Each row key of the table appears in the life of such a response, and no other key does."""
    seen: set[str] = set()
    gate = stage.upstream.hold_starts()
    creating = asyncio.create_task(stage.create(callback_url=CALLBACK_URL))
    await gate.reached.wait()
    seen |= await keys(stage, await record_id(stage))
    gate.open()
    made = await creating
    seen |= await keys(stage, made.id)
    stage.clock.advance(1)
    await stage.sweep(made.id)
    seen |= await keys(stage, made.id)
    stage.upstream.works[str(made.upstream.token)].course = [Status.COMPLETED]
    delivering = stage.receiver.hold()
    await stage.finish(made.id)
    await delivering.reached.wait()
    seen |= await keys(stage, made.id)
    delivering.open()
    await stage.deliver()
    seen |= await keys(stage, made.id)
    assert seen == set(re.findall(r"^ ?\d+ +((?:resp|alarm|live|list)\|\S+)", PAGE, re.MULTILINE))
