"""Responses whose callback has failed for good."""

from typing import Any

from shared.core.outcomes import SendError
from shared.core.records import Record
from tests.support.stage import CALLBACK_URL, Stage


async def failed(stage: Stage, answer: int | SendError = 413, **fields: Any) -> Record:
    """Return a response whose callback has failed for good."""
    stage.receiver.answers = [answer]
    record = await stage.ended(callback_url=CALLBACK_URL, **fields)
    await stage.deliver()
    while (await stage.delivery(record.id)).is_open:
        await stage.fire_alarms(record.id)
    stage.receiver.answers = [200]
    return await stage.record(record.id)
