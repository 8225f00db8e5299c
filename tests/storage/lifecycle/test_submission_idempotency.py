"""Idempotency keys: a repeat finds its first, whatever becomes of that one meanwhile."""

import asyncio
from itertools import combinations

import pytest

from shared.core.errors import BadRequest, RefusedByUpstream, UpstreamRefused
from shared.core.records import Record
from shared.core.states import Status
from tests.support.stage import ANN, BOB, Stage, until

REFUSAL = UpstreamRefused(422, "No such tool.", code="unknown_tool")


def repeat(stage: Stage) -> "asyncio.Task[Record]":
    """Send the one request of these tests, once more."""
    return asyncio.create_task(stage.create(key="k"))


async def test_repeats_at_the_same_time_start_once(stage: Stage) -> None:
    """All of them get the same response, and the upstream is asked once."""
    gate = stage.upstream.hold_starts()
    repeats = [repeat(stage) for _ in range(8)]
    await gate.reached.wait()
    gate.open()
    made = await asyncio.gather(*repeats)
    assert {(record.id, record.upstream.token) for record in made} == {(made[0].id, "up_0")}
    assert stage.upstream.starts == {made[0].id: 1}


async def test_a_repeat_after_the_end_finds_the_result(stage: Stage) -> None:
    """However late the repeat comes, as long as the response is kept it is the same one."""
    ended = await stage.finish((await stage.create(key="k")).id)
    again = await stage.create(key="k")
    assert (again.id, again.status) == (ended.id, Status.COMPLETED)
    assert stage.upstream.starts == {ended.id: 1}


async def test_the_caller_the_key_and_the_body_are_the_identity(stage: Stage) -> None:
    """Another caller, another key or another body is another response; without a key each is its own."""
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
    """The repeat has waited long enough and has the id: the response fails, it does not vanish, for either of them."""
    stage.limit(start_wait_s=0)
    stage.upstream.start_errors = [REFUSAL]
    gate = stage.upstream.hold_starts()
    first = repeat(stage)
    await gate.reached.wait()
    answered = await repeat(stage)
    assert (answered.status, answered.upstream.token, answered.acknowledged) == (Status.QUEUED, None, True)

    gate.open()
    assert (await first).status is Status.FAILED
    assert (await stage.shown(answered.id))["error"] == {"code": "unknown_tool", "message": "No such tool."}


async def test_a_promised_response_is_started_like_any_other(stage: Stage) -> None:
    """A promise changes nothing where the upstream accepts the request."""
    stage.limit(start_wait_s=0)
    gate = stage.upstream.hold_starts()
    first = repeat(stage)
    await gate.reached.wait()
    answered = await repeat(stage)
    gate.open()
    assert (await first).upstream.token == "up_0"
    assert (await stage.finish(answered.id)).status is Status.COMPLETED
    assert stage.upstream.starts == {answered.id: 1}


async def test_a_repeat_that_waits_starts_anew_where_the_first_was_refused(stage: Stage) -> None:
    """The first is refused and removed; the repeat, not answered yet, is then the first."""
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


async def test_a_repeat_after_a_refusal_is_judged_anew(stage: Stage) -> None:
    """A refusal leaves nothing behind that could answer the repeat."""
    stage.upstream.start_errors = [REFUSAL, REFUSAL]
    for _ in range(2):
        with pytest.raises(RefusedByUpstream):
            await stage.create(key="k")
    assert (await stage.create(key="k")).upstream.token == "up_0"


async def test_a_deleted_response_is_not_started_again(stage: Stage) -> None:
    """The key still names the deleted response: the repeat is told so, and nothing is started."""
    ended = await stage.finish((await stage.create(key="k")).id)
    await stage.engine.delete(ANN, ended.id)
    with pytest.raises(BadRequest) as refused:
        await stage.create(key="k")
    assert refused.value.param == "Idempotency-Key"
    assert stage.upstream.starts == {ended.id: 1}
