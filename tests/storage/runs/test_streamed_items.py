"""The items that a stream told are the output of a response whose end has none."""

import random
from typing import Any

import orjson
import pytest

from shared.core.states import Status
from shared.storage.messages import RunOffer
from tests.support.fakes.streams import Streams
from tests.support.run_holders import die, driving, held, logged, taken_over
from tests.support.stage import ANN, CALLBACK_URL, Stage
from tests.support.stream_clients import streamed

CREATED, WORKING = {"type": "response.created"}, {"type": "response.in_progress"}
NO_OUTPUT: list[dict[str, Any]] = [{"output": []}, {"output": None}, {"output": "gone"}]


def item(text: str) -> dict[str, Any]:
    """Return a finished message."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"id": f"msg_{text}", "type": "message", "role": "assistant", "status": "completed", "content": content}


def done(text: str, index: int) -> dict[str, Any]:
    """Return the event of a finished item."""
    return {"type": "response.output_item.done", "output_index": index, "item": item(text)}


def ending(kind: str, **answer: Any) -> dict[str, Any]:
    """Return a terminal event, without output unless it is given."""
    return {"type": f"response.{kind}", "response": {"output": [], "status": kind, **answer}}


def told(stage: Stage, *events: dict[str, Any]) -> Streams:
    """Let the upstream's next works tell these events."""
    stage.upstream.streams.events = [CREATED, WORKING, *events]
    return stage.upstream.streams


async def texts(stage: Stage, response_id: str) -> list[str]:
    """Return the texts of a response's output."""
    return [one["content"][0]["text"] for one in (await stage.shown(response_id))["output"]]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("missing", NO_OUTPUT, ids=str)
async def test_an_end_without_output_shows_what_was_told(stage: Stage, missing: dict[str, Any], stream: bool) -> None:
    """With and without an event log, in the order of the indexes. The callback has it, too."""
    stage.upstream.is_background = False
    told(stage, done("b", 1), done("a", 0), ending("completed", **missing))
    made = await stage.create(stream=stream, callback_url=CALLBACK_URL)
    await stage.engine.drive(RunOffer(made.id, 1))
    assert await texts(stage, made.id) == ["a", "b"]
    await stage.deliver()
    (post,) = stage.receiver.posts
    assert [one["id"] for one in orjson.loads(post.body)["data"]["output"]] == ["msg_a", "msg_b"]


async def test_an_output_that_is_told_at_the_end_is_kept(stage: Stage) -> None:
    """The terminal event decides where it says something."""
    stage.upstream.is_background = False
    told(stage, done("a", 0), ending("completed", output=[item("final")]))
    made = await stage.create()
    await stage.engine.drive(RunOffer(made.id, 1))
    assert await texts(stage, made.id) == ["final"]


async def test_the_terminal_event_has_the_items(stage: Stage) -> None:
    """A reader that only looks at the end sees what a poll shows."""
    told(stage, done("a", 0), ending("completed"))
    received = await (await streamed(stage)).rest()
    assert [one["id"] for one in received[-1][1]["response"]["output"]] == ["msg_a"]


async def test_items_survive_the_crash_of_their_holder(stage: Stage) -> None:
    """A background upstream goes on. The next holder's end has the items that the first one heard."""
    gate = told(stage, done("a", 0), done("b", 1), ending("completed")).hold(3)
    reader = await streamed(stage)
    await logged(stage, reader.id, 3)
    await die(held(stage))
    await stage.fire_alarms(reader.id)
    await taken_over(stage, reader.id, gate)
    assert await texts(stage, reader.id) == ["a", "b"]
    assert (await reader.rest())[-1][1]["response"]["output"] == [item("a"), item("b")]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_restart_begins_anew(stage: Stage, stream: bool) -> None:
    """The items of work that broke off are not those of the work that replaced it."""
    stage.upstream.is_background = False
    streams = told(stage, done("a", 0), done("b", 1), ending("completed"))
    streams.breaks = [4]
    gate = streams.hold(3)
    made = await stage.create(stream=stream)
    running = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    told(stage, done("c", 1), ending("completed"))
    gate.open()
    await running
    assert await texts(stage, made.id) == ["c"]
    assert stage.upstream.begun[made.id] == 2


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", ["failed", "incomplete"])
async def test_a_run_that_fails_shows_the_items_it_told(stage: Stage, kind: str, stream: bool) -> None:
    """A caller may use what is there."""
    stage.upstream.is_background = False
    error = {"code": "server_error", "message": "broken"}
    told(stage, done("a", 0), ending(kind, error=error, incomplete_details={"reason": "max_output_tokens"}))
    made = await stage.create(stream=stream)
    await stage.engine.drive(RunOffer(made.id, 1))
    assert (await stage.shown(made.id))["status"] == kind
    assert await texts(stage, made.id) == ["a"]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_event_leaves_the_items(stage: Stage, stream: bool) -> None:
    """The failure has its reason and the items."""
    stage.upstream.is_background = False
    told(stage, done("a", 0), {"type": "error", "code": "overloaded", "message": "busy"})
    made = await stage.create(stream=stream)
    await stage.engine.drive(RunOffer(made.id, 1))
    shown = await stage.shown(made.id)
    assert (shown["status"], shown["error"]["code"]) == ("failed", "overloaded")
    assert await texts(stage, made.id) == ["a"]


async def test_a_deadline_that_another_process_finds_leaves_the_items(stage: Stage) -> None:
    """They are in the event log."""
    stage.limit(deadline_ms=60_000)
    told(stage, done("a", 0), ending("completed")).hold(3)
    reader = await streamed(stage)
    await logged(stage, reader.id, 3)
    await die(held(stage))
    stage.clock.ms += 120_000
    assert (await stage.finish(reader.id)).status is Status.FAILED
    assert (await stage.shown(reader.id))["error"]["code"] == "deadline_exceeded"
    assert await texts(stage, reader.id) == ["a"]


async def test_a_cancelled_response_has_no_output(stage: Stage) -> None:
    """As in the contract."""
    told(stage, done("a", 0), ending("completed")).hold(3)
    reader = await streamed(stage)
    await logged(stage, reader.id, 3)
    await stage.engine.cancel(ANN, reader.id)
    assert await texts(stage, reader.id) == []


@pytest.mark.parametrize(("kind", "code"), [("completed", "output_too_large"), ("failed", "server_error")])
async def test_items_that_are_too_large_together(stage: Stage, kind: str, code: str) -> None:
    """Work that has completed fails with that reason. A failure keeps its own, and has no output."""
    stage.upstream.is_background = False
    noise = random.Random(1)
    events = [done(noise.randbytes(600_000).hex(), index) for index in range(6)]
    told(stage, *events, ending(kind, error={"code": "server_error", "message": "broken"}))
    made = await stage.create()
    await stage.engine.drive(RunOffer(made.id, 1))
    shown = await stage.shown(made.id)
    assert (shown["status"], shown["error"]["code"], shown["output"]) == ("failed", code, [])


# Streams that tell too much, or nothing that can be asked for


@pytest.mark.parametrize(("is_background", "stream"), [(True, True), (False, True), (False, False)])
async def test_a_stream_without_end_is_given_up(stage: Stage, is_background: bool, stream: bool) -> None:
    """However often it is resumed. The work is stopped, and what was told stays."""
    stage.limit(max_events=20)
    stage.upstream.is_background = is_background
    delta = {"type": "response.output_text.delta", "delta": "d"}
    told(stage, done("a", 0), *[delta] * 40, ending("completed"))
    stage.upstream.streams.breaks = [9, 9] if is_background else []
    reader = await streamed(stage) if stream else None
    response_id = reader.id if reader else (await stage.create()).id
    if not is_background:
        await stage.engine.drive(RunOffer(response_id, 1))
    if reader:
        await reader.rest()
    shown = await stage.shown(response_id)
    assert (shown["status"], shown["error"]["code"]) == ("failed", "output_too_large")
    assert await texts(stage, response_id) == ["a"]
    assert stage.upstream.streams.given <= 30


@pytest.mark.parametrize(("is_background", "stream"), [(True, True), (False, True), (False, False)])
async def test_a_stream_of_too_many_bytes_is_given_up(stage: Stage, is_background: bool, stream: bool) -> None:
    """However often it is resumed, and whatever was told again. The end names the limit."""
    stage.limit(max_log=50_000)
    stage.upstream.is_background = is_background
    delta = {"type": "response.output_text.delta", "delta": "d" * 3_000}
    told(stage, done("a", 0), *[delta] * 40, ending("completed"))
    stage.upstream.streams.breaks = [9, 9, 9, 9] if is_background else [9]
    reader = await streamed(stage) if stream else None
    response_id = reader.id if reader else (await stage.create()).id
    if not is_background:
        await stage.engine.drive(RunOffer(response_id, 1))
    received = await reader.rest() if reader else []
    shown = await stage.shown(response_id)
    assert (shown["status"], shown["error"]["code"]) == ("failed", "output_too_large")
    assert "50000 bytes" in shown["error"]["message"]
    assert sum(len(one["delta"]) for _, one in received if "delta" in one) <= 51_000
    assert stage.upstream.streams.given <= 30


async def test_the_bytes_of_a_log_are_counted_over_all_its_holders(stage: Stage) -> None:
    """The record knows them, so the limit holds for a stream that is handed over again and again."""
    delta = {"type": "response.output_text.delta", "delta": "d" * 3_000}
    told(stage, *[delta] * 5, ending("completed"))
    reader = await streamed(stage)
    await reader.rest()
    assert 15_000 < (await stage.record(reader.id)).log.size < 20_000


async def test_background_work_under_an_unusable_id_fails_at_once(stage: Stage) -> None:
    """No process could resume or poll it."""
    told(stage, ending("completed"))
    stage.upstream.streams.events[0] = CREATED | {"response": {"id": None}}
    received = await (await streamed(stage)).rest()
    assert received[-1][1]["response"]["error"]["code"] == "upstream_invalid"


async def test_a_finished_answer_needs_no_id(stage: Stage) -> None:
    """Nothing is left to ask for."""
    stage.upstream.streams.events = [ending("completed", id=None, output=[item("a")])]
    reader = await streamed(stage)
    await reader.rest()
    assert await texts(stage, reader.id) == ["a"]
