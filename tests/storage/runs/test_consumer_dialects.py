"""The consumer of an upstream that does not keep the contract to the letter: no text is lost, no work is repeated."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from shared.core.errors import UpstreamMissing
from shared.core.states import Status
from shared.upstreams.protocol import UpstreamEvent
from tests.support.fakes.streams import Streams, story
from tests.support.run_holders import die, driving, held, logged, released
from tests.support.stage import Stage
from tests.support.stream_clients import Reader, expected_lines, kinds, lines_of, replayed, streamed, text

BOTH = pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])
ANSWER = "question answered"
ITEM = {"type": "message", "id": "msg_1", "status": "completed"}
BEGUN = {"type": "response.output_item.added", "output_index": 0, "item": ITEM}
ENDED = {"type": "response.output_item.done", "output_index": 0, "item": ITEM}
PROGRESS = {"type": "response.in_progress"}
PING = {"type": "response.keep_alive"}


async def driven(stage: Stage) -> tuple[Reader, asyncio.Task[Any]]:
    """Create a streamed response. Return its reader, and a task for the run that drives it."""
    reader = await streamed(stage)
    if stage.upstream.is_background:
        return reader, asyncio.ensure_future(released(stage))
    return reader, driving(stage.engine, reader.id, 1)


async def read(stage: Stage, events: list[dict[str, Any]]) -> Reader:
    """Let a run read these events of its upstream, and return its reader."""
    stage.upstream.streams.events = events
    reader, running = await driven(stage)
    await running
    return reader


# Opening events and heartbeats


@BOTH
async def test_in_progress_as_a_heartbeat_voids_nothing(stage: Stage, is_background: bool) -> None:
    """Readers discard their text at a second `in_progress`, so a repeated one is not sent."""
    stage.upstream.is_background = is_background
    events = story(4)
    reader = await read(
        stage, [*events[:4], PROGRESS, *events[4:5], PROGRESS, {"type": "response.queued"}, *events[5:]]
    )
    received = await reader.rest()
    assert lines_of(received) == expected_lines(events)
    assert text(received) == "d0d1d2d3"


async def test_another_holder_does_not_send_in_progress_again(stage: Stage) -> None:
    """What was told before a crash counts."""
    events = story(6)
    stage.upstream.streams.events = [*events[:4], PROGRESS, *events[4:]]
    gate = stage.upstream.streams.hold(4)
    reader = await streamed(stage)
    await reader.take(3)
    await gate.reached.wait()
    await logged(stage, reader.id, 4)
    await die(held(stage))
    stage.upstream.streams.gates = {}
    await stage.fire_alarms(reader.id)
    await driving(await stage.process(), reader.id, 2)
    assert lines_of(await replayed(stage, reader.id)) == expected_lines(events)


@BOTH
@pytest.mark.parametrize("opening", [[], [{"type": "response.queued"}]], ids=["nothing", "queued"])
async def test_output_follows_in_progress(stage: Stage, is_background: bool, opening: list[dict[str, Any]]) -> None:
    """Agent Framework's hosting does not send it. It is added, so that a later one is the second."""
    stage.upstream.is_background = is_background
    created, _, *events = story(3)
    received = await (await read(stage, [created, *opening, *events])).rest()
    told = [str(one["type"]).removeprefix("response.") for one in opening]
    assert kinds(received)[: len(told) + 3] == ["created", *told, "in_progress", "output_text.delta"]
    assert [number for number, _ in received] == list(range(len(received)))
    assert kinds(received).count("in_progress") == 1


def item_events(index: int, *words: str) -> list[dict[str, Any]]:
    """Return the events of a message with these words. The last one ends it."""
    item = {"type": "message", "id": f"msg_{index}", "status": "completed"}
    parts = [{"type": "output_text", "text": "".join(words), "annotations": []}]
    place = {"output_index": index}
    deltas = [{"type": "response.output_text.delta", "delta": word, **place} for word in words]
    began = {"type": "response.output_item.added", **place, "item": item}
    return [began, *deltas, {"type": "response.output_item.done", **place, "item": item | {"content": parts}}]


@BOTH
async def test_output_that_begins_again_makes_readers_start_over(stage: Stage, is_background: bool) -> None:
    """Microsoft's agent server does so after a crash. A reader that follows the rule has every word once."""
    stage.upstream.is_background = is_background
    first, *half = item_events(0, "one ", "two ")[:-1]
    kept = {**PROGRESS, "response": {"output": []}}
    events = [*story(0)[:2], first, *half, kept, *item_events(0, "one ", "two ", "three"), *story(0)[2:]]
    reader = await read(stage, events)
    received = await reader.rest()
    assert text(received) == "one two three"
    assert kinds(received).count("in_progress") == 2
    assert kinds(await replayed(stage, reader.id))[-1] == "completed"
    assert text(await replayed(stage, reader.id)) == "one two three"


@BOTH
async def test_items_that_stay_are_told_again(stage: Stage, is_background: bool) -> None:
    """Readers discard everything at a second `in_progress`. So what the upstream keeps is sent again in our stream."""
    stage.upstream.is_background = is_background
    one, half = item_events(0, "one "), item_events(1, "tw")[:-1]
    kept = {**PROGRESS, "response": {"output": [one[-1]["item"]]}}
    reader = await read(stage, [*story(0)[:2], *one, *half, kept, *item_events(1, "two"), *story(0)[2:]])
    received = await reader.rest()
    assert text(received) == "one two"
    again = kinds(received)[kinds(received).index("in_progress", 2) :]
    assert [again.count(f"output_item.{kind}") for kind in ("added", "done")] == [2, 2]


async def test_output_begins_again_after_a_break(stage: Stage) -> None:
    """The crash also cuts the stream. The one that is resumed begins the output again."""
    events = [*story(0)[:2], *item_events(0, "a", "b")[:-1], PROGRESS, *item_events(0, "a", "b"), *story(0)[2:]]
    stage.upstream.streams.breaks = [4]
    reader = await read(stage, events)
    assert text(await reader.rest()) == "ab"
    assert stage.upstream.streams.follows == [("up_0", 3)]


async def test_the_next_holder_finds_output_that_begins_again(stage: Stage) -> None:
    """It knows that an item was told. So if the first place is begun again, its readers start over."""
    events = [*story(0)[:2], *item_events(0, "a", "b")[:-1], PROGRESS, *item_events(0, "a", "b"), *story(0)[2:]]
    stage.upstream.streams.events = events
    gate = stage.upstream.streams.hold(5)
    reader = await streamed(stage)
    await gate.reached.wait()
    await logged(stage, reader.id, 5)
    await die(held(stage))
    stage.upstream.streams.gates = {}
    await stage.fire_alarms(reader.id)
    await driving(await stage.process(), reader.id, 2)
    assert text(await replayed(stage, reader.id)) == "ab"


@dataclass
class TwiceNumbered(Streams):
    """Streams whose heartbeats have the number of the event that follows."""

    def _sent(self, place: int, event: dict[str, Any], answer: dict[str, Any]) -> UpstreamEvent:
        earlier = sum(one["type"] == PING["type"] for one in self.events[:place])
        return replace(super()._sent(place, event, answer), number=place - earlier)


@BOTH
async def test_heartbeats_with_the_number_of_an_event_lose_no_event(stage: Stage, is_background: bool) -> None:
    """Heartbeats are no events of the response, whatever they are called and numbered."""
    stage.upstream.is_background = is_background
    events = story(4)
    stage.upstream.streams = TwiceNumbered()
    reader = await read(stage, [*events[:3], PING, PING, *events[3:5], PING, *events[5:]])
    assert lines_of(await reader.rest()) == expected_lines(events)


@dataclass
class Zeros(Streams):
    """Streams of an upstream that gives every event the same number."""

    def _sent(self, place: int, event: dict[str, Any], answer: dict[str, Any]) -> UpstreamEvent:
        return replace(super()._sent(place, event, answer), number=0)


async def test_numbers_that_do_not_grow_lose_no_event_in_the_background(stage: Stage) -> None:
    """All events of such a stream are sent."""
    stage.upstream.streams = Zeros()
    reader = await read(stage, story(6))
    assert lines_of(await reader.rest()) == expected_lines(story(6))


@pytest.mark.usefixtures("waits")
async def test_a_stream_whose_numbers_do_not_grow_is_not_resumed(stage: Stage) -> None:
    """Its numbers name no place. So after a break the work is polled, and the answer is sent whole."""
    stage.upstream.streams = Zeros()
    stage.upstream.streams.breaks = [5]
    reader = await read(stage, story(6))
    await stage.finish(reader.id)
    received = await reader.rest()
    assert (text(received), kinds(received)[-1]) == (ANSWER, "completed")
    assert (stage.upstream.streams.follows, stage.upstream.begun) == ([], {reader.id: 1})


# Ends


@BOTH
async def test_the_status_of_the_response_decides_over_the_event(stage: Stage, is_background: bool) -> None:
    """LiteLLM ends everything with `response.completed`. Its response says that it is incomplete, and why."""
    stage.upstream.is_background = is_background
    details = {"reason": "max_output_tokens"}
    cut = {"type": "response.completed", "response": {"status": "incomplete", "incomplete_details": details}}
    reader = await read(stage, [*story(1)[:-1], cut])
    assert kinds(await reader.rest())[-1] == "incomplete"
    shown = await stage.shown(reader.id)
    assert (shown["status"], shown["incomplete_details"]) == ("incomplete", details)


@BOTH
@pytest.mark.usefixtures("waits")
async def test_an_unfinished_response_is_no_end(stage: Stage, is_background: bool) -> None:
    """Background work goes on and is polled. Foreground work is asked for, and then polled as well."""
    stage.upstream.is_background, stage.upstream.forgets = is_background, False
    stage.upstream.course = [Status.IN_PROGRESS, Status.COMPLETED]
    reader = await read(stage, [*story(1)[:-1], {"type": "response.completed", "response": {"status": "in_progress"}}])
    assert (await stage.record(reader.id)).run.mode == "poll"
    await stage.finish(reader.id)
    received = await reader.rest()
    assert (text(received), kinds(received)[-1]) == (ANSWER, "completed")
    assert stage.upstream.begun == {reader.id: 1}


async def test_a_foreground_stream_may_end_after_its_items(stage: Stage) -> None:
    """OpenRouter closes some streams without a terminal event. Finished work is not started again."""
    stage.upstream.is_background = False
    reader = await read(stage, [*story(1)[:-1], BEGUN, ENDED])
    assert kinds(await reader.rest())[-2:] == ["output_item.done", "completed"]
    assert stage.upstream.begun == {reader.id: 1}


@pytest.mark.usefixtures("waits")
async def test_a_foreground_stream_that_ends_within_an_item_has_broken_off(stage: Stage) -> None:
    """Its work is started again."""
    stage.upstream.is_background, stage.upstream.course = False, [UpstreamMissing()]
    stage.upstream.streams.events = [*story(1)[:-1], ENDED, {**BEGUN, "output_index": 1}]
    reader, running = await driven(stage)
    await running
    assert kinds(await reader.rest())[-2:] == ["error", "failed"]
    assert stage.upstream.streams.runs == [reader.id] * 4


async def test_a_background_stream_that_ends_after_its_items_is_polled_at_once(stage: Stage) -> None:
    """The upstream still has the response, and its stream has nothing more."""
    reader = await read(stage, [*story(1)[:-1], BEGUN, ENDED])
    assert (await stage.record(reader.id)).run.mode == "poll"
    assert stage.upstream.streams.follows == []
    await stage.finish(reader.id)
    received = await reader.rest()
    assert (text(received), kinds(received)[-1]) == (ANSWER, "completed")


@BOTH
@pytest.mark.parametrize(
    "sent",
    [
        {"type": "", "error": {"message": "No credit.", "code": "insufficient_quota"}},
        {"type": "response.failed", "error": {"message": "No credit.", "code": "insufficient_quota"}},
        {"type": "response.error", "message": "No credit.", "code": "insufficient_quota"},
    ],
    ids=["untyped", "no response", "another name"],
)
async def test_an_error_in_another_form_fails_work_that_has_not_begun(
    stage: Stage, sent: dict[str, Any], is_background: bool
) -> None:
    """The provider's words reach the caller, and the upstream is not asked again."""
    stage.upstream.is_background = is_background
    stage.upstream.streams = Untyped([sent])
    reader, running = await driven(stage)
    await running
    assert kinds(await reader.rest()) == ["created", "error", "failed"]
    error = (await stage.shown(reader.id))["error"]
    assert (error["code"], error["message"]) == ("insufficient_quota", "No credit.")
    assert stage.upstream.streams.runs == [reader.id]


@dataclass
class Untyped(Streams):
    """Streams whose events are sent as they are."""

    def _sent(self, _place: int, event: dict[str, Any], _answer: dict[str, Any]) -> UpstreamEvent:
        return UpstreamEvent(None, event)
