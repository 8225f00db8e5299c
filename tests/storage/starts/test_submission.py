"""Submission: an accepted response is started exactly once, whatever fails or crashes on the way."""

import asyncio
from dataclasses import replace

import httpx
import pytest

from shared.core.alarms import Kind
from shared.core.errors import (
    RefusedByUpstream,
    UpstreamError,
    UpstreamOversized,
    UpstreamRefused,
    UpstreamUnavailable,
)
from shared.core.ids import shard_of
from shared.core.records import Record, WaitInfo
from shared.core.states import Status
from shared.engine import Engine
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.responses_api import BackgroundResponses
from shared.upstreams.routes import Route, Upstreams
from tests.support.clocks import START_MS
from tests.support.log_capture import WrittenLines, log_events
from tests.support.sent_messages import Sent
from tests.support.stage import CALLBACK_URL, Stage

HOUR_MS = 3_600_000

OUTAGE = UpstreamUnavailable("ConnectError")
TIMEOUT = UpstreamUnavailable("no answer within 20 s")
THROTTLED = UpstreamUnavailable("status 429", retry_after_s=17)
IMPATIENT = UpstreamUnavailable("status 503", retry_after_s=0)
PATIENT = UpstreamUnavailable("status 503 for long", retry_after_s=3_600)
REFUSAL = UpstreamRefused(400, "No such model.", param="model", code="model_not_found")


async def killed(starter: "asyncio.Task[Record]") -> None:
    """Cancel the task that starts a response, as a crash of its process would."""
    starter.cancel()
    await asyncio.wait([starter])
    assert starter.cancelled()


async def test_a_start_leaves_a_poll_and_a_wakeup_for_it(stage: Stage) -> None:
    """After a start the record has the upstream's token, the alarm is a poll, and a wake-up is sent for it."""
    made = await stage.create()
    assert (made.status, made.upstream.token) == (Status.QUEUED, "up_0")
    assert await stage.record(made.id) == made
    (poll,) = await stage.alarms(made.id)
    assert (poll.kind, poll.token, poll.due_ms) == (Kind.POLL, "up_0", START_MS + 1_000)
    assert stage.sent == [Sent("nudges", {"shards": made.id[5], "at": poll.due_ms // 1000}, 1)]
    assert stage.upstream.starts == {made.id: 1}


async def test_work_that_is_done_at_once_needs_no_poll(stage: Stage) -> None:
    """If the upstream's first answer is final, the response ends in the same request."""
    stage.upstream.first = Status.COMPLETED
    made = await stage.create(callback_url=CALLBACK_URL)
    assert made.status is Status.COMPLETED
    assert await stage.kinds(made.id) == [Kind.DELIVER, Kind.PURGE]


async def test_a_refused_request_is_passed_on_and_nothing_is_kept(stage: Stage) -> None:
    """The caller gets the upstream's refusal, and the record, request and alarm are removed."""
    stage.upstream.start_errors = [REFUSAL]
    with pytest.raises(RefusedByUpstream) as refused:
        await stage.create(key="k")
    assert (refused.value.status, refused.value.param, refused.value.code) == (400, "model", "model_not_found")
    ((response_id, _),) = stage.upstream.starts.items()
    assert await stage.ports.store.read(response_id) is None
    assert await stage.ports.store.request(response_id) is None
    assert await stage.kinds(response_id) == []


async def test_a_refusal_names_the_previous_response_by_our_id(stage: Stage) -> None:
    """When the upstream's refusal names the previous response, its id is replaced by the one that the caller knows."""
    first = await stage.ended()
    theirs = str((await stage.record(first.id)).upstream.id)
    stage.upstream.start_errors = [UpstreamRefused(400, f"Previous response with id '{theirs}' has not finished.")]
    with pytest.raises(RefusedByUpstream) as refused:
        await stage.create(previous_response_id=first.id)
    assert refused.value.message == f"Previous response with id '{first.id}' has not finished."


@pytest.mark.parametrize(
    ("error", "closed_ms"),
    [(OUTAGE, 1_000), (TIMEOUT, 1_000), (THROTTLED, 17_000), (IMPATIENT, 1_000), (PATIENT, 600_000)],
    ids=str,
)
async def test_an_unavailable_upstream_is_not_an_error_for_the_caller(
    stage: Stage, error: UpstreamError, closed_ms: int
) -> None:
    """If the upstream is unavailable, the caller still gets a queued response, which waits for its turn.

    The upstream is asked again when its gate opens: after a second, or when the upstream asked for it, but after a
    second at least and ten minutes at most. The start alarm stands at the deadline meanwhile.
    """
    stage.upstream.start_errors = [error]
    made = await stage.create()
    assert (made.status, made.acknowledged, made.upstream.token) == (Status.QUEUED, True, None)
    assert made.wait == WaitInfo(
        "upstream_down", str(error), 1, START_MS, START_MS + closed_ms, place=1, gate="default", number=1
    )
    assert await stage.record(made.id) == made
    (start,) = await stage.alarms(made.id)
    assert (start.kind, start.due_ms, start.tries, start.counted) == (Kind.START, made.deadline_ms, 0, 0)

    stage.clock.ms = START_MS + closed_ms - 1
    await stage.ports.gates.round(stage.ports.upstreams.gate_named((await stage.ports.gates.registered())[0]))
    await stage.gate_tasks.finished()
    assert stage.upstream.starts == {made.id: 1}
    await stage.fire_alarms(made.id)
    assert stage.clock.ms == START_MS + closed_ms
    assert stage.upstream.starts == {made.id: 2}
    assert (await stage.record(made.id)).wait == WaitInfo()
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert stage.upstream.starts == {made.id: 2}


async def test_tries_back_off_and_never_count_as_failures(stage: Stage) -> None:
    """Each refusal in a row closes the gate for twice as long, up to a minute, and does not end the response."""
    stage.upstream.start_errors = [OUTAGE] * 9
    made = await stage.create()
    waits_s = []
    for _ in range(8):
        (start,) = await stage.alarms(made.id)
        assert (start.due_ms, start.counted) == (made.deadline_ms, 0)
        waits_s.append(((await stage.record(made.id)).wait.next_ms - stage.clock.ms) // 1000)
        await stage.fire_alarms(made.id)
    assert waits_s == [1, 2, 4, 8, 16, 32, 60, 60]
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert stage.upstream.starts == {made.id: 10}


async def test_a_later_try_that_is_refused_fails_the_response(stage: Stage) -> None:
    """If a later try is refused, the response fails with the refusal and still repeats its request's fields."""
    stage.upstream.start_errors = [OUTAGE, REFUSAL]
    made = await stage.create(instructions="be brief")
    failed = await stage.finish(made.id)
    assert failed.status is Status.FAILED
    shown = await stage.shown(made.id)
    error = {"code": "model_not_found", "message": "No such model.", "type": "invalid_request_error", "param": "model"}
    assert shown["error"] == error
    assert shown["instructions"] == "be brief"
    assert await stage.kinds(made.id) == [Kind.PURGE]


@pytest.mark.parametrize("errors", [[UpstreamOversized()], [OUTAGE, UpstreamOversized()]], ids=["first", "later"])
async def test_a_first_answer_over_the_limit_fails_the_response(stage: Stage, errors: list[Exception]) -> None:
    """A first answer that is too large fails the response, because another try would get the same answer."""
    stage.upstream.start_errors = errors
    made = await stage.create()
    assert (await stage.finish(made.id)).status is Status.FAILED
    assert (await stage.shown(made.id))["error"]["code"] == "output_too_large"
    assert await stage.kinds(made.id) == [Kind.PURGE]


@pytest.mark.parametrize(
    ("content", "tries"),
    [
        (b"", 3),
        (b"<html>", 3),
        (b"[]", 3),
        (b'"queued"', 3),
        (b"{}", 3),
        (b'{"id":"up_1"}', 3),
        (b'{"status":"queued"}', 1),
        (b'{"id":1.5,"status":"queued"}', 1),
    ],
)
async def test_a_success_without_a_response_object_fails_the_response(stage: Stage, content: bytes, tries: int) -> None:
    """A 200 without a response object fails the response with `upstream_invalid`, after three tries in all.

    Each of them may have begun work that costs money. If the answer says that work has begun, and has no id to ask for,
    there is no other try.
    """
    starts = 0

    async def answer(_: httpx.Request) -> httpx.Response:
        nonlocal starts
        starts += 1
        return httpx.Response(200, content=content)

    async def no_headers() -> dict[str, str]:
        return {}

    upstream = BackgroundResponses(Endpoint(httpx.MockTransport(answer), "https://model.example.com/v1", no_headers))
    stage.engine = Engine(replace(stage.ports, upstreams=Upstreams([Route(upstream)])))
    made = await stage.create()
    assert (await stage.finish(made.id)).status is Status.FAILED
    assert (await stage.shown(made.id))["error"]["code"] == "upstream_invalid"
    assert await stage.kinds(made.id) == [Kind.PURGE]
    assert starts == tries


async def test_an_upstream_that_stays_unavailable_is_given_up_at_the_deadline(stage: Stage) -> None:
    """A response that is not started by its deadline fails with `deadline_exceeded`, and its start alarm is removed.

    The start alarm ends it while it waits for its turn, and no turn starts it after that.
    """
    stage.limit(deadline_ms=100_000)
    stage.upstream.start_errors = [OUTAGE] * 100
    made = await stage.create()
    while (await stage.record(made.id)).wait.next_ms < made.deadline_ms:
        await stage.fire_alarms(made.id)
    assert stage.clock.ms == START_MS + 63_000
    assert stage.upstream.starts == {made.id: 7}
    (start,) = await stage.alarms(made.id)
    assert (start.kind, start.due_ms) == (Kind.START, START_MS + 100_000)

    stage.clock.ms = start.due_ms
    await stage.sweep(made.id)
    failed = await stage.record(made.id)
    assert (failed.status, failed.ended_ms) == (Status.FAILED, START_MS + 100_000)
    assert (await stage.shown(made.id))["error"]["code"] == "deadline_exceeded"
    await stage.fire_alarms(made.id)
    assert await stage.kinds(made.id) == [Kind.PURGE]
    await stage.fire_gates()
    assert stage.upstream.starts == {made.id: 7}


async def test_a_record_that_cannot_be_read_uses_up_no_try(stage: Stage) -> None:
    """A newer version may have written it. When it can be read again, the response is started."""
    stage.treat(honours_keys=False, limits={"*": 1})
    first, made = await stage.create(), await stage.create()
    row = await (await stage.table()).find(shard_of(made.id), f"resp|{made.id}", ["facts"])
    assert row
    await stage.put(made.id, f"resp|{made.id}", facts="of a newer version")
    await stage.finish(first.id)
    await stage.gate_tasks.finished()
    for _ in range(8):
        stage.clock.ms += HOUR_MS // 6
        await stage.sweep(made.id)
    await stage.put(made.id, f"resp|{made.id}", facts=row["facts"])
    stage.clock.ms += HOUR_MS
    await stage.sweep(made.id)
    assert stage.upstream.starts[made.id] == 1
    assert (await stage.finish(made.id)).status is Status.COMPLETED


async def test_a_sweep_starts_a_response_that_a_crashed_process_accepted(stage: Stage) -> None:
    """If a process crashes during a start, a sweep starts the response after the lease of 30 s.

    The upstream finds the work by the same key.
    """
    gate = stage.upstream.hold_starts()
    starter = asyncio.create_task(stage.create(key="k"))
    await gate.reached.wait()
    await killed(starter)
    gate.open()

    ((response_id, _),) = stage.upstream.starts.items()
    (lease,) = await stage.alarms(response_id)
    assert (lease.kind, lease.due_ms) == (Kind.START, START_MS + 30_000)
    assert (await stage.finish(response_id)).status is Status.COMPLETED
    assert stage.upstream.starts == {response_id: 2}
    assert list(stage.upstream.works) == ["up_0"]


async def started_by_two(stage: Stage) -> Record:
    """Let a sweep start a response while its first starter still waits for its answer, then let that one continue."""
    gate = stage.upstream.hold_starts()
    starter = asyncio.create_task(stage.create())
    await gate.reached.wait()
    ((response_id, _),) = stage.upstream.starts.items()
    stage.upstream.start_gate = None
    await stage.fire_alarms(response_id)
    assert (await stage.record(response_id)).upstream.token
    gate.open()
    return await starter


async def test_work_that_was_started_twice_is_stopped_and_logged(stage: Stage, written: WrittenLines) -> None:
    """If the upstream ignores keys and work is started twice, one stays. The other is stopped, and a line is logged."""
    stage.upstream.honours_keys = False
    made = await started_by_two(stage)
    assert made.upstream.token == "up_1"
    assert log_events(written).count("start.orphaned") == 1

    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert stage.upstream.stopped == ["up_0"]
    assert stage.upstream.works["up_0"].polls == 0


async def test_two_starters_with_one_key_share_their_work(stage: Stage, written: WrittenLines) -> None:
    """If the upstream honours keys, two starters get the same token and nothing is stopped."""
    made = await started_by_two(stage)
    assert "start.orphaned" not in log_events(written)
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert stage.upstream.stopped == []
    assert list(stage.upstream.works) == ["up_0"]
