"""Idempotency keys: a repeat finds the first response, whatever has happened to it meanwhile."""

import asyncio
from itertools import combinations
from typing import Any

import pytest

from shared.core.alarms import Kind
from shared.core.errors import BadRequest, RefusedByUpstream, UpstreamError, UpstreamRefused, UpstreamUncertain
from shared.core.records import Record
from shared.core.states import Status
from shared.upstreams.protocol import Progress
from tests.support.conditions import until
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.stage import ANN, BOB, Stage

REFUSAL = UpstreamRefused(422, "No such tool.", code="unknown_tool")


def repeat(stage: Stage) -> "asyncio.Task[Record]":
    """Send the one request of these tests again."""
    return asyncio.create_task(stage.create(key="k"))


async def test_repeats_at_the_same_time_start_once(stage: Stage) -> None:
    """All repeats at the same time get the same response, and the upstream's work is started once."""
    gate = stage.upstream.hold_starts()
    repeats = [repeat(stage) for _ in range(8)]
    await gate.reached.wait()
    gate.open()
    made = await asyncio.gather(*repeats)
    assert {(record.id, record.upstream.token) for record in made} == {(made[0].id, "up_0")}
    assert stage.upstream.starts == {made[0].id: 1}


async def test_a_repeat_after_the_end_finds_the_result(stage: Stage) -> None:
    """A repeat finds the same response for as long as it is kept."""
    ended = await stage.finish((await stage.create(key="k")).id)
    again = await stage.create(key="k")
    assert (again.id, again.status) == (ended.id, Status.COMPLETED)
    assert stage.upstream.starts == {ended.id: 1}


async def test_the_caller_the_key_and_the_body_are_the_identity(stage: Stage) -> None:
    """A different caller, key or body gives a different response. Without a key, every request gives a new one."""
    made = [
        await stage.create(ANN, key="k"),
        await stage.create(BOB, key="k"),
        await stage.create(ANN, key="k2"),
        await stage.create(ANN, key="k", input="other"),
        await stage.create(ANN),
        await stage.create(ANN),
    ]
    assert all(one.id != other.id for one, other in combinations(made, 2))


async def test_a_repeat_that_was_answered_turns_a_refusal_into_a_failure(stage: Stage) -> None:
    """If a repeat has been answered with the id, a later refusal fails the response instead of removing it."""
    stage.limit(start_wait_s=0)
    stage.upstream.start_errors = [REFUSAL]
    gate = stage.upstream.hold_starts()
    first = repeat(stage)
    await gate.reached.wait()
    answered = await repeat(stage)
    assert (answered.status, answered.upstream.token, answered.acknowledged) == (Status.QUEUED, None, True)

    gate.open()
    assert (await first).status is Status.FAILED
    error = {"code": "unknown_tool", "message": "No such tool.", "type": "invalid_request_error", "param": None}
    assert (await stage.shown(answered.id))["error"] == error


async def test_an_acknowledged_response_is_started_like_any_other(stage: Stage) -> None:
    """A response that a repeat has acknowledged is started and completes like any other."""
    stage.limit(start_wait_s=0)
    gate = stage.upstream.hold_starts()
    first = repeat(stage)
    await gate.reached.wait()
    answered = await repeat(stage)
    gate.open()
    assert (await first).upstream.token == "up_0"
    assert (await stage.finish(answered.id)).status is Status.COMPLETED
    assert stage.upstream.starts == {answered.id: 1}


async def test_a_repeat_that_waits_starts_the_work_if_the_first_was_refused(stage: Stage) -> None:
    """If the first request is refused and removed while a repeat waits, the repeat starts the work."""
    stage.upstream.start_errors = [REFUSAL]
    gate = stage.upstream.hold_starts()
    first = repeat(stage)
    await gate.reached.wait()
    reads = stage.proxy.counts["GET responses(key)"]
    second = repeat(stage)

    async def has_looked() -> bool:
        return stage.proxy.counts["GET responses(key)"] > reads

    await until(has_looked)
    gate.open()
    with pytest.raises(RefusedByUpstream):
        await first
    made = await second
    assert made.upstream.token == "up_0"
    assert stage.upstream.starts == {made.id: 2}


async def test_a_repeat_after_a_refusal_is_sent_to_the_upstream_again(stage: Stage) -> None:
    """A refusal leaves nothing behind, so a repeat is sent to the upstream again."""
    stage.upstream.start_errors = [REFUSAL, REFUSAL]
    for _ in range(2):
        with pytest.raises(RefusedByUpstream):
            await stage.create(key="k")
    assert (await stage.create(key="k")).upstream.token == "up_0"


async def test_a_deleted_response_is_not_started_again(stage: Stage) -> None:
    """A repeat of a deleted response is refused, and nothing is started."""
    ended = await stage.finish((await stage.create(key="k")).id)
    await stage.engine.delete(ANN, ended.id)
    with pytest.raises(BadRequest) as refused:
        await stage.create(key="k")
    assert refused.value.param == "Idempotency-Key"
    assert stage.upstream.starts == {ended.id: 1}


class ForgetfulUpstream(ScriptedUpstream):
    """An upstream whose first create begins work and is not answered, and whose next ones are answered by `errors`."""

    def __init__(self, errors: list[UpstreamError]) -> None:
        super().__init__()
        self.errors: list[UpstreamError] = [UpstreamUncertain("no answer within 20 s"), *errors]

    async def start(self, request: dict[str, Any], key: str) -> Progress:
        """Begin the work of the key, and raise the next error, if there is one."""
        progress = await super().start(request, key)
        if self.errors:
            raise self.errors.pop(0)
        return progress


UNDER_WAY = UpstreamRefused(409, "A request with this key is being processed.", code="idempotency_key_in_use")


@pytest.mark.parametrize("errors", [[UNDER_WAY], [UNDER_WAY] * 3, [REFUSAL]], ids=["409", "409 again", "422"])
async def test_a_repeat_that_is_refused_leaves_no_work_behind(stage: Stage, errors: list[UpstreamError]) -> None:
    """The response fails with the refusal. Its `start` alarm stays until the work of the first try is stopped.

    The IETF draft of the Idempotency-Key header asks for 409 while the first request is under way.
    """
    stage.cast(ForgetfulUpstream(errors))
    stage.treat(honours_keys=True)
    made = await stage.create()
    await stage.fire_alarms(made.id)
    assert (await stage.record(made.id)).error == getattr(errors[0], "code", None)
    while (kinds := await stage.kinds(made.id)) != [Kind.PURGE]:
        assert Kind.START in kinds or Kind.STOP in kinds
        await stage.fire_alarms(made.id)
    assert stage.upstream.stopped == ["up_0"]
