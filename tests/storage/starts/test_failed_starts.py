"""Failed starts of a response that is polled: how often work may be begun, when, and what its caller is told."""

import asyncio
from typing import Any

import pytest

from shared.core.alarms import Kind
from shared.core.errors import (
    RefusedByUpstream,
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamUnavailable,
    UpstreamUncertain,
)
from shared.core.records import Record
from shared.core.states import Status
from shared.upstreams.protocol import Progress
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.log_capture import WrittenLines, log_events
from tests.support.stage import ANN, Stage

AWAY = UpstreamUnavailable("ConnectError")
CUT = UpstreamUncertain("ReadError")
GATEWAY = UpstreamUncertain("status 502", code="bad_gateway", message="No model behind the gateway.")


class DatedUpstream(ScriptedUpstream):
    """A scripted upstream that notes when it was asked to start, in seconds since the test's clock began."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.asked_s: list[float] = []
        self._stage = stage

    async def start(self, request: dict[str, Any], key: str) -> Progress:
        """Note the time and start work."""
        self.asked_s.append((self._stage.clock.ms - START_MS) / 1000)
        return await super().start(request, key)


@pytest.fixture
def upstream(stage: Stage) -> DatedUpstream:
    """Return the stage's upstream, which notes the times of its starts."""
    dated = DatedUpstream(stage)
    stage.cast(dated)
    return dated


# Counted tries


@pytest.mark.parametrize("error", [CUT, GATEWAY, UpstreamInvalid(), UpstreamBroken("x")], ids=str)
async def test_work_that_may_have_begun_is_asked_for_three_times_in_all(
    stage: Stage, upstream: DatedUpstream, error: UpstreamError, written: WrittenLines
) -> None:
    """The upstream is asked at 0 s, 10 s and 130 s, and then the response fails. Nothing asks after that.

    The message has the last cause and says that work may be running, and an event tells the operator.
    """
    upstream.start_errors = [error] * 100
    made = await stage.create()
    assert made.status is Status.QUEUED
    failed = await stage.finish(made.id)
    assert upstream.asked_s == [0, 10, 130]
    assert (failed.status, failed.ended_ms) == (Status.FAILED, START_MS + 130_000)
    assert "Work may be running upstream." in (await stage.shown(made.id))["error"]["message"]
    assert await stage.kinds(made.id) == [Kind.PURGE]
    assert log_events(written).count("start.abandoned") == 1
    stage.clock.advance(3_600)
    await stage.sweep(made.id)
    assert len(upstream.asked_s) == 3


async def test_the_last_cause_is_told_in_the_upstreams_words(stage: Stage, upstream: DatedUpstream) -> None:
    """Its code and its message reach the caller, and not those of earlier tries."""
    upstream.start_errors = [CUT, UpstreamInvalid(), GATEWAY]
    made = await stage.create()
    await stage.finish(made.id)
    error = (await stage.shown(made.id))["error"]
    assert error["code"] == "bad_gateway"
    assert "No model behind the gateway" in error["message"]
    assert (error["type"], error["param"]) == ("server_error", None)


async def test_free_tries_between_counted_ones_do_not_count(stage: Stage, upstream: DatedUpstream) -> None:
    """An upstream that cannot be reached has begun nothing, so only the three others count, wherever they stand.

    Their waits of 10 s and 2 min are those of the alarm. After each of the free ones the gate is closed, for twice as
    long as before: a create that was cut has not opened it.
    """
    upstream.start_errors = [AWAY, CUT, AWAY, AWAY, CUT, AWAY, CUT, AWAY]
    made = await stage.create()
    failed = await stage.finish(made.id)
    assert (failed.status, upstream.start_errors) == (Status.FAILED, [AWAY])
    assert upstream.asked_s == [0, 1, 11, 13, 17, 137, 145]


async def test_a_wait_that_the_upstream_asks_for_is_kept(stage: Stage, upstream: DatedUpstream) -> None:
    """A Retry-After of a 500 is longer than our own wait, so it is honoured."""
    upstream.start_errors = [UpstreamUncertain("status 500", retry_after_s=50)]
    made = await stage.create()
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert upstream.asked_s == [0, 51]


async def test_where_keys_are_honoured_no_try_counts(stage: Stage, upstream: DatedUpstream) -> None:
    """A repeat with the same key begins nothing there, so tries of unknown outcome go on until the deadline."""
    stage.treat(honours_keys=True)
    stage.limit(deadline_ms=100_000)
    upstream.start_errors = [CUT] * 7
    made = await stage.create()
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert [int(at_s) for at_s in upstream.asked_s] == [0, 1, 2, 4, 8, 16, 32, 62]


# Crashes and storage


async def crashed(stage: Stage, response_id: str) -> None:
    """Let a sweep begin a try, and end its process in it."""
    stage.upstream.start_gate = None
    gate = stage.upstream.hold_starts()
    stage.clock.ms = (await stage.alarms(response_id))[0].due_ms
    sweep = asyncio.create_task(stage.sweep(response_id))
    await gate.reached.wait()
    sweep.cancel()
    await asyncio.wait([sweep])


async def accepted(stage: Stage) -> str:
    """Accept a response whose process ends in the first try, and return its id."""
    gate = stage.upstream.hold_starts()
    starter = asyncio.create_task(stage.create())
    await gate.reached.wait()
    starter.cancel()
    await asyncio.wait([starter])
    ((response_id, _),) = stage.upstream.starts.items()
    return response_id


async def test_a_try_that_ends_with_its_process_counts(stage: Stage, upstream: DatedUpstream) -> None:
    """Nobody knows what such a try has begun. After three of them the response fails, and no fourth is made."""
    upstream.honours_keys = False
    response_id = await accepted(stage)
    await crashed(stage, response_id)
    await crashed(stage, response_id)
    upstream.start_gate = None
    failed = await stage.finish(response_id)
    assert upstream.asked_s == [0, 30, 60]
    assert (failed.status, failed.ended_ms) == (Status.FAILED, START_MS + 90_000)
    assert "no try was finished" in (await stage.shown(response_id))["error"]["message"]


@pytest.mark.parametrize(("error", "asked_s"), [(CUT, [0, 130]), (AWAY, [0, 121])], ids=["alarm", "turn"])
async def test_storage_that_fails_before_a_try_uses_none_up(
    stage: Stage, upstream: DatedUpstream, error: UpstreamError, asked_s: list[int]
) -> None:
    """A try that could not be made because the record could not be read does not count.

    This holds for one that an alarm begins, and for one whose turn it is. The alarm begins the next one after 30 s.
    """
    upstream.start_errors = [error]
    made = await stage.create()
    (before,) = await stage.alarms(made.id)
    for _ in range(4):
        # twice, because the client repeats a read once by itself. `fire_alarms` reads the record of a start first
        lost = [stage.proxy.drop_answer(lambda request: "resp%7C" in request.path, nth) for nth in (2, 3)]
        await stage.fire_alarms(made.id)
        assert all(one.happened.is_set() for one in lost)
        stage.proxy.heal()
        (start,) = await stage.alarms(made.id)
        assert (start.due_ms, start.counted) == (stage.clock.ms + 30_001, before.counted)  # the next free key
    assert len(upstream.asked_s) == 1
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert [int(at_s) for at_s in upstream.asked_s] == asked_s


# Ends


@pytest.mark.parametrize("status", [400, 402, 403, 404, 409, 410, 422, 424, 429])
async def test_a_refusal_is_answered_to_the_post_and_nothing_is_kept(
    stage: Stage, upstream: DatedUpstream, status: int
) -> None:
    """The caller gets the upstream's status and words, as it would directly. The upstream is asked once."""
    upstream.start_errors = [UpstreamRefused(status, "No.", param="p", code="c", kind="k")]
    with pytest.raises(RefusedByUpstream) as refused:
        await stage.create()
    assert refused.value.status == status
    assert refused.value.envelope()["error"] == {"message": "No.", "type": "k", "param": "p", "code": "c"}
    ((response_id, _),) = upstream.starts.items()
    assert await stage.ports.store.read(response_id) is None
    assert await stage.alarms(response_id) == []


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRefused(302, "Elsewhere.", code="moved"),
        UpstreamRefused(501, "Not here.", code="none"),
        UpstreamFailed("busy", "Worker limit reached.", kind="overloaded", param="model"),
    ],
    ids=["302", "501", "200"],
)
async def test_an_end_that_is_no_4xx_fails_the_response(
    stage: Stage, upstream: DatedUpstream, error: UpstreamFailed | UpstreamRefused
) -> None:
    """A redirect, a 501 or an error in a 200 is not an answer for a caller. The response has its words, at once."""
    upstream.start_errors = [error]
    made = await stage.create()
    assert made.status is Status.FAILED
    shown = (await stage.shown(made.id))["error"]
    kind = error.type or "server_error"
    assert shown == {"code": error.code, "message": error.message, "type": kind, "param": error.param}
    assert upstream.asked_s == [0]


# A foreground call


async def waiting(stage: Stage) -> "tuple[asyncio.Task[Record], str]":
    """Let a foreground call wait for a start that was deferred. Return its task, and the id of its response."""
    call = asyncio.create_task(stage.create(background=False))

    async def is_deferred() -> bool:
        return any([(await stage.record(one)).wait.reason for one in stage.upstream.starts])

    await until(is_deferred)
    ((response_id, _),) = stage.upstream.starts.items()
    return call, response_id


async def test_a_foreground_call_is_refused_as_long_as_it_waits(stage: Stage, upstream: DatedUpstream) -> None:
    """If a later try is refused while the call waits, the call answers with the refusal and the response is hidden.

    Its first try may have begun work, so it is repeated by an alarm, and nobody was told of the response.
    """
    upstream.start_errors = [CUT, UpstreamRefused(404, "No such model.", code="model_not_found")]
    call, response_id = await waiting(stage)
    assert not (await stage.record(response_id)).acknowledged
    await stage.fire_alarms(response_id)
    with pytest.raises(RefusedByUpstream) as refused:
        await call
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")
    assert (await stage.record(response_id)).deleted


async def test_a_foreground_call_that_waited_for_its_turn_is_told_a_failed_response(
    stage: Stage, upstream: DatedUpstream
) -> None:
    """If the try at its turn is refused, the call answers with a response that has failed, and nothing is hidden.

    What waits for its turn is acknowledged, so its rows stay.
    """
    upstream.start_errors = [AWAY, UpstreamRefused(404, "No such model.", code="model_not_found")]
    call, response_id = await waiting(stage)
    assert (await stage.record(response_id)).acknowledged
    await stage.fire_alarms(response_id)
    record = await call
    assert (record.id, record.status, record.deleted) == (response_id, Status.FAILED, False)
    error = (await stage.shown(response_id))["error"]
    assert (error["code"], error["message"]) == ("model_not_found", "No such model.")
    assert not (await stage.record(response_id)).deleted
    assert upstream.asked_s == [0, 1]


async def test_a_background_caller_knows_the_id_so_a_later_refusal_fails(stage: Stage, upstream: DatedUpstream) -> None:
    """Its response ends as failed, is not hidden, and a repeat with the same key finds it."""
    upstream.start_errors = [AWAY, UpstreamRefused(400, "No.", code="c")]
    made = await stage.create(key="k")
    assert (await stage.finish(made.id)).upstream.refusal == 0
    again = await stage.create(key="k")
    assert (again.id, again.status) == (made.id, Status.FAILED)
    assert (await stage.shown(made.id, ANN))["error"]["message"] == "No."


async def test_storage_that_is_away_keeps_the_response(stage: Stage, upstream: DatedUpstream) -> None:
    """If the outcome of a failed try cannot be written, the alarm stays at its lease, and the response completes."""
    upstream.start_errors = [CUT]
    gate = upstream.hold_starts()
    starter = asyncio.create_task(stage.create())
    await gate.reached.wait()
    async with stage.proxy.refusing():
        gate.open()
        made = await starter
    assert made.status is Status.QUEUED
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert upstream.asked_s == [0, 30]
