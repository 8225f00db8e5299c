"""Large events of an upstream: each is looked through for credentials in a thread, and the loop serves others."""

import pytest

from tests.support.fakes.streams import story
from tests.support.stage import Stage
from tests.support.stream_clients import streamed
from tests.support.threads import counted_threads


@pytest.mark.parametrize(("values", "count"), [(1_000, 0), (100_000, 1)])
async def test_an_event_of_many_values_does_not_hold_the_loop(stage: Stage, values: int, count: int) -> None:
    """The first one takes no time, and half a million values take a second."""
    events = stage.upstream.streams.events = story(2)
    events[2:2] = [{"type": "acme:note", "values": [[0]] * values}]
    with counted_threads() as threads:
        received = await (await streamed(stage)).rest()
    assert any(len(one.get("values", ())) == values for _, one in received)
    assert threads.count == count
