"""Completion: every end of a response is one transaction, the first one counts, and it repeats the request's fields."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from shared.contract.requests import parse_request
from shared.core import blobs
from shared.core.alarms import Kind
from shared.core.changesets import ChangeSet
from shared.core.errors import UpstreamRefused, UpstreamUnavailable
from shared.core.ids import new_id
from shared.core.records import Record
from shared.core.states import Status
from shared.lifecycle import endings
from shared.lifecycle.completion import Holder, end, with_object
from shared.lifecycle.endings import Outcome
from shared.upstreams.protocol import Progress
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.log_capture import WrittenLines, log_events
from tests.support.proxies.fault_proxy import StorageRequest, is_transaction
from tests.support.stage import ANN, CALLBACK_URL, Stage

OUTAGE = UpstreamUnavailable("ConnectError")
REFUSAL = UpstreamRefused(400, "No such model.", code="model_not_found")
ASKED: dict[str, Any] = {
    "instructions": "be brief",
    "temperature": 0.2,
    "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}],
}
SHOWN = ASKED | {"tools": [ASKED["tools"][0] | {"description": None, "strict": None}]}


def completed(text: str = "done", **fields: Any) -> Outcome:
    """Return the outcome of work that has completed with this output."""
    answer = {"output": [{"type": "message", "text": text}]}
    return endings.by_progress(Progress(Status.COMPLETED, None, answer, "up_0", **fields), START_MS)


async def running(stage: Stage, **fields: Any) -> Record:
    """Return a response whose work goes on."""
    return await stage.create(callback_url=CALLBACK_URL, **fields)


# One transaction


async def test_an_end_is_one_transaction(stage: Stage) -> None:
    """Status, output, deliveries and purge are written with the removal of the caller's alarm, in one transaction.

    It claims the first attempts, which begin at once.
    """
    made = await running(stage, reply_to="replies-1")
    (poll,) = await stage.alarms(made.id)
    gates = [receiver.hold() for receiver in (stage.receiver, stage.replies)]
    before = stage.proxy.counts.copy()
    ended = await end(stage.ports, made, made.id, completed(), poll)
    await asyncio.gather(*(gate.reached.wait() for gate in gates))
    assert ended
    assert stage.proxy.counts - before == {"POST $batch": 1}
    assert ended == await stage.record(made.id)
    assert (ended.status, ended.ended_ms, ended.upstream.id) == (Status.COMPLETED, START_MS, "up_0")
    assert (await stage.shown(made.id))["output"] == [{"type": "message", "text": "done"}]
    assert await stage.kinds(made.id) == [Kind.DELIVER, Kind.DELIVER, Kind.PURGE]
    assert all(one.sending for one in ended.deliveries)


async def test_an_end_reads_the_record_if_its_caller_has_not(stage: Stage) -> None:
    """Without a record, the end reads it, and then ends the response."""
    made = await running(stage)
    ended = await end(stage.ports, None, made.id, completed())
    assert ended == await stage.record(made.id)
    assert ended.status is Status.COMPLETED


async def test_a_response_that_does_not_exist_does_not_end(stage: Stage) -> None:
    """Without a record there is nothing to end. The caller's alarm is removed."""
    made = await running(stage)
    (poll,) = await stage.alarms(made.id)
    unknown = new_id()
    assert await end(stage.ports, None, unknown, completed(), poll) is None
    assert await stage.ports.store.read(unknown) is None
    assert await stage.alarms(made.id) == []


async def test_an_end_whose_answer_was_lost_is_made_once(stage: Stage) -> None:
    """If storage loses the answer to an end, the write is recognised and each event is sent once."""
    made = await running(stage)
    lost = stage.proxy.drop_answer(is_transaction)
    ended = await end(stage.ports, made, made.id, completed())
    assert lost.happened.is_set()
    assert ended
    await stage.deliver()
    assert (len(stage.receiver.posts), (await stage.delivery(made.id)).attempt) == (1, 1)


# The first end counts


async def test_an_ended_response_stays_as_it_is(stage: Stage) -> None:
    """An end of a response that has ended changes nothing. It removes the caller's alarm and returns the record."""
    made = await running(stage)
    (poll,) = await stage.alarms(made.id)
    stage.receiver.is_full = True
    first = await end(stage.ports, made, made.id, endings.cancelled(START_MS))
    for known in (made, first, None):
        assert await end(stage.ports, known, made.id, completed(), poll) == first
    assert await stage.record(made.id) == first
    assert Kind.POLL not in await stage.kinds(made.id)


async def test_of_ends_at_the_same_time_one_counts(stage: Stage) -> None:
    """When several processes end a response at once, all get the record of the same end, and one event is sent."""
    made = await running(stage)
    outcomes = [completed("one"), completed("two"), endings.cancelled(START_MS), endings.deadline_exceeded(START_MS)]
    processes = [await stage.new_ports(stage.clock) for _ in outcomes]
    ended = await asyncio.gather(
        *(end(ports, made, made.id, outcome) for ports, outcome in zip(processes, outcomes, strict=True))
    )
    there = await stage.record(made.id)
    assert {(one.status, one.purge_key) for one in ended if one} == {(there.status, there.purge_key)}

    async def is_delivered() -> bool:
        return not (await stage.delivery(made.id)).is_open

    await until(is_delivered)
    assert len(stage.receiver.posts) == 1


async def test_an_end_is_decided_from_the_newest_record(stage: Stage) -> None:
    """If another write came first, the end keeps what it has changed."""
    made = await running(stage)
    await stage.ports.store.commit(ChangeSet(replace(made, acknowledged=True, status=Status.IN_PROGRESS)))
    ended = await end(stage.ports, made, made.id, completed())
    assert ended == await stage.record(made.id)
    assert (ended.status, ended.acknowledged) == (Status.COMPLETED, True)


@pytest.mark.parametrize(("epoch", "status"), [(1, Status.COMPLETED), (0, Status.QUEUED), (2, Status.QUEUED)])
async def test_an_end_may_be_that_of_one_epoch(stage: Stage, epoch: int, status: Status) -> None:
    """With an epoch, the response ends only while its run has that epoch."""
    made = await running(stage)
    ended = await end(stage.ports, made, made.id, completed(), holder=Holder(epoch))
    assert ended == await stage.record(made.id)
    assert ended.status is status


# What is read for the end


async def test_a_failure_of_ours_is_written_without_reading_what_may_be_damaged(stage: Stage) -> None:
    """An end for a fault of this service reads neither the stored object nor the request."""
    made = await running(stage)
    await stage.put(made.id, f"resp|{made.id}", body=b"damaged")
    await stage.put(made.id, f"resp|{made.id}|input|00", p0=b"damaged")
    ended = await end(stage.ports, None, made.id, endings.internal_error(START_MS))
    assert ended
    assert ended.status is Status.FAILED
    shown = await stage.shown(made.id)
    assert (shown["error"]["code"], shown["model"]) == ("internal_error", "m")


def is_completed(request: StorageRequest) -> bool:
    """Return whether a request would write a completed record."""
    return is_transaction(request) and b'"status":"completed"' in request.body


@pytest.mark.parametrize("status", [400, 413])
async def test_an_end_that_storage_does_not_take_is_a_failure(stage: Stage, status: int, written: WrittenLines) -> None:
    """It would be refused again and again, until the deadline. One that has only the reason takes its place."""
    made = await running(stage)
    stage.proxy.refuse(is_completed, status)
    ended = await end(stage.ports, made, made.id, completed())
    assert ended == await stage.record(made.id)
    assert (await stage.shown(made.id))["error"]["code"] == "internal_error"
    assert log_events(written, "error") == ["end.unstorable"]


async def test_a_session_that_is_too_large_is_left_out_and_logged(stage: Stage, written: WrittenLines) -> None:
    """A response whose session is too large to keep completes without it, and a line is logged. A small one is kept."""
    sizes = {10: 1, 3_000_000: 0}
    for size, rows in sizes.items():
        made = await running(stage)
        session = {"text": random.Random(1).randbytes(size).hex()}
        ended = await end(stage.ports, made, made.id, completed(session=session))
        assert ended
        assert (ended.status, ended.session_rows) == (Status.COMPLETED, rows)
    assert log_events(written).count("legacy.too_large") == 1


async def test_a_known_object_is_not_made_again(stage: Stage) -> None:
    """A record with an object, and one of a response that has ended, are returned without a call of storage."""
    made = await running(stage)
    before = stage.proxy.counts.copy()
    for record in (made, replace(made, body=b"", status=Status.FAILED)):
        assert await with_object(stage.ports, record) == record
    assert stage.proxy.counts == before


async def test_a_missing_object_is_made_from_the_request(stage: Stage) -> None:
    """A record without an object gets one with the request's fields. If the request is gone, it stays without one."""
    made = await running(stage, **ASKED)
    found = await with_object(stage.ports, replace(made, body=b""))
    assert repeated(blobs.unpack(found.body)) == ASKED
    assert replace(found, body=made.body) == made
    gone = replace(made, id=new_id(), body=b"")
    assert await with_object(stage.ports, gone) == gone


# What a response repeats of its request


def repeated(shown: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a response object that repeats the request."""
    return {name: shown[name] for name in ASKED}


async def test_the_requests_fields_are_shown_before_the_upstream_accepts(stage: Stage) -> None:
    """A response repeats its request's fields before its upstream accepts it, in the first and every later answer."""
    stage.upstream.start_errors = [OUTAGE]
    body = orjson.dumps({"model": "m", "input": "question", "background": True, **ASKED})
    made, first = await stage.engine.create(ANN, parse_request(body), None)
    for shown in (orjson.loads(first), await stage.shown(made.id)):
        assert (shown["status"], repeated(shown)) == ("queued", SHOWN)


async def cancelled(stage: Stage, response_id: str) -> None:
    """Cancel a response."""
    await stage.engine.cancel(ANN, response_id)


async def refused(stage: Stage, response_id: str) -> None:
    """Let the upstream refuse a response when it is started again."""
    stage.upstream.start_errors = [REFUSAL]
    await stage.finish(response_id)


async def overdue(stage: Stage, response_id: str) -> None:
    """Let the deadline of a response pass."""
    stage.upstream.start_errors = [OUTAGE] * 100
    await stage.finish(response_id)


@pytest.mark.parametrize("end", [cancelled, refused, overdue])
async def test_the_requests_fields_are_shown_after_an_end_without_an_answer(
    stage: Stage, end: Callable[[Stage, str], Awaitable[None]]
) -> None:
    """A response that its upstream never accepted repeats the request's fields however it ends.

    The object and the event of its callback both show them.
    """
    stage.limit(deadline_ms=60_000)
    stage.upstream.start_errors = [OUTAGE]
    made = await stage.create(callback_url=CALLBACK_URL, **ASKED)
    await end(stage, made.id)
    shown = await stage.shown(made.id)
    assert Status(shown["status"]).is_terminal
    assert repeated(shown) == SHOWN
    await stage.deliver()
    (post,) = stage.receiver.posts
    assert orjson.loads(post.body)["data"] == shown


@pytest.mark.parametrize("end", [cancelled, overdue])
async def test_fields_too_large_for_the_record_are_shown_too(
    stage: Stage, end: Callable[[Stage, str], Awaitable[None]]
) -> None:
    """Fields that are too large for the record are read from the request, before and after the response's end."""
    stage.limit(deadline_ms=60_000)
    stage.upstream.course = [Status.IN_PROGRESS]
    instructions = random.Random(1).randbytes(70_000).hex()
    made = await stage.create(instructions=instructions)
    assert (await stage.shown(made.id))["instructions"] == instructions
    await end(stage, made.id)
    shown = await stage.shown(made.id)
    assert Status(shown["status"]).is_terminal
    assert shown["instructions"] == instructions
