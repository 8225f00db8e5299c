"""The stream of a foreground call: a repeat joins the work of a stream that was left early, and of no other."""

import pytest

from tests.support.fakes.streams import story
from tests.support.run_holders import taken_over
from tests.support.stage import Stage
from tests.support.stream_clients import QUICK, expected_lines, lines_of, streamed


@pytest.fixture(autouse=True, params=[True, False], ids=["background", "foreground"])
def upstream(stage: Stage, request: pytest.FixtureRequest) -> None:
    """Take an upstream of either kind, and make every wait of a stream short."""
    stage.upstream.is_background = request.param
    stage.pace(**QUICK)


async def test_a_cut_stream_is_joined_from_its_first_event(stage: Stage) -> None:
    """The second reader gets every event, and the work is one."""
    gate = stage.upstream.streams.hold(4)
    first = await streamed(stage, background=False)
    await first.take(2)
    await first.leave()
    again = await streamed(stage, background=False)
    assert again.id == first.id
    if stage.upstream.is_background:  # the run was the first reader's, and is taken over
        await taken_over(stage, first.id, gate)
    gate.open()
    assert lines_of(await again.rest()) == expected_lines(story(6))


async def test_a_stream_that_was_read_to_its_end_is_not_joined(stage: Stage) -> None:
    """The same question once more is another work."""
    first = await streamed(stage, background=False)
    await first.rest()
    await first.leave()
    assert (await streamed(stage, background=False)).id != first.id


async def test_a_client_that_leaves_at_the_terminal_event_has_read_it_all(stage: Stage) -> None:
    """Some stop reading there, and close the connection."""
    first = await streamed(stage, background=False)
    while True:
        ((_, event),) = await first.take(1)
        if event["type"] == "response.completed":
            break
    await first.leave()
    assert (await streamed(stage, background=False)).id != first.id


async def test_two_streams_at_once_are_two_works(stage: Stage) -> None:
    """Nobody has left."""
    stage.upstream.streams.hold(4)
    first = await streamed(stage, background=False)
    again = await streamed(stage, background=False)
    assert again.id != first.id
    for reader in (first, again):
        await reader.leave()
