"""What a response waits for, when that is not its work: told on the object, kept with its alarm, and gone in time."""

import asyncio
from typing import Any

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.errors import UpstreamError, UpstreamMissing, UpstreamUnavailable, UpstreamUncertain
from shared.core.records import WaitInfo
from shared.core.states import Status, WaitReason
from shared.runtime.single_flight import SingleFlight
from tests.support.clocks import START_MS
from tests.support.log_capture import WrittenLines, log_lines
from tests.support.stage import ANN, Stage

AWAY = UpstreamUnavailable("ConnectError")
CUT = UpstreamUncertain("ReadError")
KEYLESS = UpstreamUnavailable("status 401", waits_for=WaitReason.CREDENTIALS)
THROTTLED = UpstreamUnavailable("status 429", retry_after_s=40, waits_for=WaitReason.RATE_LIMIT)
START_S = START_MS // 1000


async def waiting(stage: Stage, response_id: str) -> dict[str, Any] | None:
    """Return what the object says that its response waits for, or None if it says nothing."""
    shown = await stage.shown(response_id)
    assert shown["status"] in ("queued", "in_progress")
    return shown.get("waiting")


async def the_alarm(stage: Stage, response_id: str) -> Alarm:
    """Return the only alarm of a response."""
    (alarm,) = await stage.alarms(response_id)
    return alarm


# Starts


@pytest.mark.parametrize(
    ("error", "reason", "next_s"),
    [
        (AWAY, "upstream_down", [1, 3, 7]),
        (KEYLESS, "credentials", [1, 3, 7]),
        (THROTTLED, "rate_limit", [40, 80, 120]),
    ],
    ids=["away", "keyless", "throttled"],
)
async def test_a_start_that_failed_says_why_and_when_the_next_one_is(
    stage: Stage, error: UpstreamError, reason: str, next_s: list[int]
) -> None:
    """The tries add up while the reason stays, and `since` is the time of the first.

    The next one is when the gate of the upstream opens. Until then the response is the first in its line, and its start
    alarm stands at its deadline.
    """
    stage.upstream.start_errors = [error] * 3
    made = await stage.create()
    for tries in (1, 2, 3):
        assert stage.upstream.starts[made.id] == tries
        assert await waiting(stage, made.id) == {
            "reason": reason,
            "detail": str(error),
            "tries": tries,
            "since": START_S,
            "next_at": START_S + next_s[tries - 1],
            "place": 1,
        }
        assert (await the_alarm(stage, made.id)).due_ms == made.deadline_ms
        await stage.fire_alarms(made.id)
        assert stage.clock.ms == START_MS + next_s[tries - 1] * 1000
    assert await waiting(stage, made.id) is None
    assert (await stage.record(made.id)).upstream.token


async def test_a_start_that_may_have_begun_says_when_its_alarm_repeats_it(stage: Stage) -> None:
    """It waits in no line, and its upstream is not closed to others."""
    stage.upstream.start_errors = [CUT]
    made = await stage.create()
    alarm = await the_alarm(stage, made.id)
    assert alarm.due_ms == START_MS + 10_000
    assert made.wait == WaitInfo("upstream_down", "ReadError", 1, START_MS, alarm.due_ms)
    assert await stage.ports.gates.registered() == []
    await stage.fire_alarms(made.id)
    assert await waiting(stage, made.id) is None


async def test_another_reason_begins_anew(stage: Stage) -> None:
    """An on-call engineer reads how long it has been this."""
    stage.upstream.start_errors = [AWAY, AWAY, THROTTLED]
    made = await stage.create()
    await stage.fire_alarms(made.id)
    await stage.fire_alarms(made.id)
    told = await waiting(stage, made.id)
    assert told
    assert (told["reason"], told["tries"], told["since"]) == ("rate_limit", 1, stage.clock.ms // 1000)


@pytest.mark.parametrize(("error", "transactions"), [(CUT, 2), (AWAY, 4)], ids=["alarm", "turn"])
async def test_the_reason_is_written_with_the_alarm(stage: Stage, error: UpstreamError, transactions: int) -> None:
    """A failed try costs one transaction of the response, as one that only moves its alarm would.

    Whoever begins the try moves the alarm first. The gate has two more: it grants the turn, and it is closed.
    """
    stage.treat(honours_keys=True)
    stage.upstream.start_errors = [error] * 5
    made = await stage.create()
    await stage.fire_alarms(made.id)  # the first round of a minute also notes that it has checked the gate
    before = stage.proxy.counts.copy()
    await stage.fire_alarms(made.id)
    assert (stage.proxy.counts - before)["POST $batch"] == transactions
    assert stage.upstream.starts[made.id] == 3
    assert (await stage.record(made.id)).wait.tries == 3


async def test_the_answer_to_the_post_has_the_reason(stage: Stage) -> None:
    """The caller need not ask again to know why, when its turn may come, and its place in the line."""
    stage.upstream.start_errors = [AWAY]
    made = await stage.create()
    assert made.wait == WaitInfo("upstream_down", "ConnectError", 1, START_MS, START_MS + 1_000, 1, "default", 1)
    assert (await stage.record(made.id)).wait == made.wait


async def test_a_lost_alarm_is_not_written_again(stage: Stage) -> None:
    """If another process has the alarm by now, a failed try writes neither it nor a reason."""
    stage.upstream.start_errors = [AWAY]
    gate = stage.upstream.hold_starts()

    async def steal() -> None:
        await gate.reached.wait()
        alarm = (await stage.ports.store.agenda(next(iter(stage.upstream.starts))[5], START_MS * 2, 9)).due[0]
        assert await stage.ports.store.move(alarm.id[5], [(alarm, alarm.moved(alarm.due_ms + 5_000))])
        gate.open()

    made, _ = await asyncio.gather(stage.create(), steal())
    assert [alarm.kind for alarm in await stage.alarms(made.id)] == [Kind.START]
    assert not (await stage.record(made.id)).wait.reason


# Polls


async def test_a_poll_that_failed_says_why_until_one_succeeds(stage: Stage) -> None:
    """The reason is kept with the alarm, so every process can tell it."""
    stage.upstream.course = [AWAY, AWAY, Status.IN_PROGRESS, Status.IN_PROGRESS]
    made = await stage.create()
    for tries in (1, 2):
        await stage.fire_alarms(made.id)
        wait = (await stage.record(made.id)).wait
        assert (wait.reason, wait.tries, wait.next_ms) == (
            "upstream_down",
            tries,
            (await the_alarm(stage, made.id)).due_ms,
        )
    await stage.fire_alarms(made.id)
    assert (await stage.record(made.id)).wait == WaitInfo()
    assert await waiting(stage, made.id) is None


async def test_a_get_that_cannot_ask_says_why(stage: Stage) -> None:
    """The caller asks before the next poll. What it is told is what was met just now, and is not stored."""
    stage.upstream.course = [Status.IN_PROGRESS]
    made = await stage.create()
    stage.upstream.poll_errors = [KEYLESS]
    told = await waiting(stage, made.id)
    assert told == {
        "reason": "credentials",
        "detail": "status 401",
        "tries": 1,
        "since": START_S,
        "next_at": None,
        "place": None,
    }
    assert not (await stage.record(made.id)).wait.reason
    stage.change(polls=SingleFlight())  # a GET of the same second gets the same answer
    assert await waiting(stage, made.id) is None


async def test_a_get_that_meets_the_known_reason_adds_nothing(stage: Stage) -> None:
    """The time of the first failure and of the next try stay on the object."""
    stage.upstream.course = [AWAY]
    made = await stage.create()
    await stage.fire_alarms(made.id)
    since_s, alarm = stage.clock.ms // 1000, await the_alarm(stage, made.id)
    stage.clock.advance(2)
    told = await waiting(stage, made.id)
    assert told
    assert (told["tries"], told["since"], told["next_at"]) == (1, since_s, -(-alarm.due_ms // 1000))


async def test_work_that_goes_on_waits_for_nothing_else(stage: Stage) -> None:
    """Azure answers 404 soon after a create. That is no reason."""
    stage.upstream.course = [UpstreamMissing(), Status.IN_PROGRESS]
    made = await stage.create()
    assert await waiting(stage, made.id) is None
    await stage.fire_alarms(made.id)
    assert await waiting(stage, made.id) is None


async def test_an_end_has_no_reason(stage: Stage) -> None:
    """A response that waited and then ended says nothing of it."""
    stage.upstream.start_errors = [AWAY]
    made = await stage.create()
    await stage.finish(made.id)
    assert "waiting" not in await stage.shown(made.id)
    assert not (await stage.record(made.id)).wait.reason


async def test_a_cancelled_response_waits_for_nothing(stage: Stage) -> None:
    """Also if the cancel comes while a try fails."""
    gate, stage.upstream.start_errors = stage.upstream.hold_starts(), [AWAY]
    starting = asyncio.create_task(stage.create())
    await gate.reached.wait()
    (response_id,) = stage.upstream.starts
    await stage.engine.cancel(ANN, response_id)
    gate.open()
    await starting
    record = await stage.record(response_id)
    assert (record.status, record.wait) == (Status.CANCELLED, WaitInfo())
    assert Kind.START in await stage.kinds(response_id)


async def test_a_poll_of_what_has_ended_is_over(stage: Stage) -> None:
    """It fails after the cancel. Its alarm is removed, and the record is not written again."""
    stage.upstream.course, stage.upstream.stop_errors = [AWAY], [AWAY] * 9
    made = await stage.create()
    await stage.fire_alarms(made.id)
    await stage.engine.cancel(ANN, made.id)
    before = (await stage.record(made.id)).write_id
    stage.clock.ms = next(one.due_ms for one in await stage.alarms(made.id) if one.kind is Kind.POLL)
    await stage.sweep(made.id)
    assert Kind.POLL not in await stage.kinds(made.id)
    assert (await stage.record(made.id)).write_id == before


async def test_every_line_about_a_retry_has_the_reason(stage: Stage, written: WrittenLines) -> None:
    """A search for what waits for the upstream finds starts and polls, and the alert rests on it."""
    stage.upstream.start_errors, stage.upstream.course = [KEYLESS], [AWAY, Status.IN_PROGRESS]
    made = await stage.create()
    await stage.fire_alarms(made.id)
    await stage.fire_alarms(made.id)
    lines = [line for line in log_lines(written, "warning") if line["event"].endswith(".deferred")]
    assert [(line["event"], line["waits_for"], line["reason"]) for line in lines] == [
        ("start.deferred", "credentials", "status 401"),
        ("poll.deferred", "upstream_down", "ConnectError"),
    ]
