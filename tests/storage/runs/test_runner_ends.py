"""How a run ends: by a cancel, by its deadline, by a failure, or as its upstream says.

The last event's number is highest.
"""

import pytest

from shared.core.alarms import Kind
from shared.core.states import Status
from tests.support.fakes.streams import story
from tests.support.run_holders import die, held, logged, reaches, released
from tests.support.stage import ANN, CALLBACK_URL, Stage
from tests.support.stream_clients import kinds, numbers, replayed, resumed, streamed

MINUTE_MS = 60_000


async def test_a_cancel_ends_the_stream_above_everything_sent(stage: Stage) -> None:
    """After a cancel, the terminal event comes last and has the highest number.

    The holder closes its upstream connection, and the upstream's work is stopped.
    """
    stage.upstream.streams.hold(5)
    reader = await streamed(stage)
    await reader.take(4)
    reserved = (await logged(stage, reader.id, 5)).log.high_water_mark
    await stage.engine.cancel(ANN, reader.id)
    await released(stage)
    received = await reader.rest()
    assert numbers(received) == [0, 1, 2, 3, 4, reserved, reserved + 1]
    assert (kinds(received)[-2:], received[-1][1]["response"]["status"]) == (["error", "failed"], "cancelled")
    assert stage.upstream.streams.closed == 1
    await stage.sweep(reader.id)
    assert stage.upstream.stopped == ["up_0"]
    assert await replayed(stage, reader.id) == received


@pytest.mark.parametrize("has_holder", [True, False])
async def test_a_run_past_its_deadline_fails(stage: Stage, has_holder: bool) -> None:
    """A run past its deadline is ended by its holder, or by its alarm if there is no holder.

    The upstream's work is stopped, and the end is numbered above everything sent.
    """
    stage.limit(deadline_ms=MINUTE_MS)
    stage.upstream.streams.hold(4)
    reader = await streamed(stage)
    await reader.take(3)
    await logged(stage, reader.id, 4)
    if not has_holder:
        await die(held(stage))
    stage.clock.advance(61)
    if not has_holder:
        await stage.fire_alarms(reader.id)
    ended = await reaches(stage, reader.id, lambda record: record.status is Status.FAILED)
    received = await reader.rest()
    assert numbers(received) == [0, 1, 2, 3, ended.log.high_water_mark, ended.log.high_water_mark + 1]
    assert received[-1][1]["response"]["error"]["code"] == "deadline_exceeded"
    await stage.sweep(reader.id)
    assert stage.upstream.stopped == ["up_0"]


async def test_a_failure_is_sent_as_two_events(stage: Stage) -> None:
    """A failed response ends its stream with `error` and then `response.failed`. Only the last event has no token.

    Agent Framework ignores `response.failed` and raises at an `error`.
    """
    failure = {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "Broken."}}}
    stage.upstream.streams.events, stage.upstream.course = [*story(2)[:-1], failure], [Status.FAILED]
    reader = await streamed(stage)
    received = await reader.rest()
    assert kinds(received)[-2:] == ["error", "failed"]
    assert (received[-2][1]["code"], received[-2][1]["message"]) == ("server_error", "Broken.")
    assert received[-1][1]["response"]["status"] == "failed"
    assert await replayed(stage, reader.id, numbers(received)[-2]) == received[-1:]


async def test_the_end_of_a_run_is_delivered_like_any_other(stage: Stage) -> None:
    """The end of a run sends its callback and leaves only the purge alarm, like that of a polled response."""
    reader = await streamed(stage, callback_url=CALLBACK_URL)
    received = await reader.rest()
    await stage.deliver()
    (post,) = stage.receiver.posts
    assert received[-1][1]["response"]["id"].encode() in post.body
    assert await stage.kinds(reader.id) == [Kind.PURGE]


async def test_a_reader_in_another_process_receives_a_cancel(stage: Stage) -> None:
    """A reader in another process, which reads the log, receives the end of a cancelled response."""
    stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    await reader.take(2)
    other = await resumed(stage, reader.id, engine=await stage.process())
    await other.take(3)
    await stage.engine.cancel(ANN, reader.id)
    assert await other.rest() == await reader.rest()
