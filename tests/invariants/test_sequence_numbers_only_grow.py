"""Invariant 6: sequence numbers only grow. A client that resumes after N gets every event above N once.

None of them contradicts an earlier one, across processes and crashes.
"""

import asyncio

import pytest

from shared.engine import Engine
from shared.storage.messages import RunOffer
from tests.support.crash_points import CrashPoint, crash_points
from tests.support.failover import RemainingProcess
from tests.support.stage import Stage
from tests.support.stream_clients import (
    QUICK,
    Reader,
    expected_lines,
    lines_of,
    numbers,
    replayed,
    resumed,
    streamed,
    text,
)

TEXT = "question answered"  # the whole output of the scripted upstream
DELTAS = [{"type": "response.output_text.delta", "delta": character} for character in TEXT]
EVENTS = [{"type": "response.created"}, {"type": "response.in_progress"}, *DELTAS, {"type": "response.completed"}]


@pytest.fixture(autouse=True)
def script(stage: Stage) -> None:
    """Make every wait of a stream short, and let the upstream's events say what its output says."""
    stage.pace(**QUICK)
    stage.upstream.streams.events = list(EVENTS)
    stage.upstream.streams.pause_s = 0.01  # so that there are several batches


async def take_over(stage: Stage, response_id: str) -> None:
    """Let another process drive the response to its end."""

    async def has_ended() -> bool:
        return (await stage.record(response_id)).status.is_terminal

    now_ms = stage.clock.ms
    await RemainingProcess(stage, stage.engine, now_ms + 60_000).run_until(has_ended, now_ms + 120_000)


@pytest.mark.parametrize(
    ("is_background", "in_place"),
    [(True, False), (False, False), (False, True)],
    ids=["replayed", "offered", "in place"],
)
async def test_a_crash_of_the_holder_at_any_write_shows_in_no_stream(
    stage: Stage, is_background: bool, in_place: bool
) -> None:
    """The client saw some events, the holder crashed, and the client resumes after the last one that it saw.

    It gets the rest once. A client that reads from the start gets the same text.
    """
    stage.upstream.is_background = is_background
    readers: dict[CrashPoint, Reader] = {}

    async def hold(engine: Engine, point: CrashPoint) -> None:
        readers[point] = reader = await streamed(stage, engine, background=not in_place)
        async with asyncio.TaskGroup() as group:
            if not (is_background or in_place):
                group.create_task(engine.drive(RunOffer(reader.id, 1)))
            await reader.rest()

    crashes = 0
    async for point in crash_points(stage, hold):
        if point not in readers:
            continue  # the response was not accepted, or its first event was not sent
        crashes += 1
        await take_over(stage, readers[point].id)
        await _resumes(stage, readers[point])
    assert crashes >= 4


async def _resumes(stage: Stage, reader: Reader) -> None:
    """Check what the client of a crashed process reads from another one, and what a new client reads."""
    last = reader.received[-1][0]
    rest = await replayed(stage, reader.id, last)
    both = [*reader.received, *rest]
    assert numbers(both) == sorted(set(numbers(both)))
    assert text(both) == TEXT
    whole = await replayed(stage, reader.id)
    assert text(whole) == TEXT
    valid_from = (await stage.record(reader.id)).log.valid_from  # a restart makes the events before it void
    assert [one for one in rest if one[0] >= valid_from] == [
        one for one in whole if one[0] >= max(valid_from, last + 1)
    ]


async def test_every_cursor_gives_the_rest_of_the_stream(stage: Stage) -> None:
    """Resuming after event N, for each N and in another process, gives exactly the events above N."""
    reader = await streamed(stage)
    whole = await reader.rest()
    assert lines_of(whole) == expected_lines(EVENTS)
    other = await stage.process()
    for n in range(-1, len(whole) + 2):
        received = await (await resumed(stage, reader.id, n if n >= 0 else None, other)).rest()
        assert received == [event for event in whole if event[0] > n]
