"""The events that end a stream, made from the record."""

import pytest

from shared.core.errors import StoreError
from shared.lifecycle import log_ends
from tests.support.stage import Stage
from tests.support.stream_clients import streamed


@pytest.mark.parametrize(("is_overdue", "count"), [(False, 1), (True, 2)], ids=["completed", "failed"])
async def test_only_the_last_event_has_no_token(stage: Stage, is_overdue: bool, count: int) -> None:
    """The last event has the number before the next one of the log and no token. A failure has an `error` before it."""
    gate = stage.upstream.streams.hold(8)
    reader = await streamed(stage)
    if is_overdue:
        stage.clock.ms = (await stage.record(reader.id)).deadline_ms
    else:
        gate.open()
    received = await reader.rest()
    ends = await log_ends.read(stage.ports, reader.id)
    assert [number for number, _ in ends] == [number for number, _ in received[-count:]]
    assert ends[-1][0] == (await stage.record(reader.id)).log.next_seq - 1
    assert [b'"continuation_token":null' in frame for _, frame in ends] == [False, True][-count:]


async def test_a_response_that_is_gone_has_no_end(stage: Stage) -> None:
    """A removed response has no such events, and storage that is away says so."""
    assert await log_ends.read(stage.ports, f"resp_{'a' * 32}") == []
    async with stage.proxy.refusing():
        with pytest.raises(StoreError):
            await log_ends.read(stage.ports, f"resp_{'a' * 32}")
