"""Invariant 9: all work is bounded. Every call has a deadline, every input a limit, and one bad row stops no other."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from shared.contract.pages import Page
from shared.contract.requests import parse_request
from shared.core.alarms import Kind
from shared.core.errors import BadRequest, StoreUnavailable
from shared.core.ids import shard_of
from shared.core.keys import record_key
from shared.core.states import Status
from shared.engine import Engine
from shared.lists.queries import RecoveryQuery
from shared.senders.url_policy import check_url
from shared.storage.messages import RunOffer, Wakeup
from tests.support import fast_loop
from tests.support.fast_loop import skip
from tests.support.stage import ANN, CALLBACK_URL, Stage

LONGEST_S = 70  # three tries of 20 s, and the pauses between them
ID = f"resp_{'a' * 32}"
CALLS: dict[str, Callable[[Engine], Awaitable[Any]]] = {
    "create": lambda engine: engine.create(ANN, parse_request(b'{"model":"m","background":true}'), None),
    "retrieve": lambda engine: engine.retrieve(ANN, ID),
    "cancel": lambda engine: engine.cancel(ANN, ID),
    "delete": lambda engine: engine.delete(ANN, ID),
    "input_items": lambda engine: engine.input_items(ANN, ID, Page()),
    "deliveries": lambda engine: engine.deliveries(ANN, ID),
    "redeliver": lambda engine: engine.redeliver(ANN, ID, None),
    "recover": lambda engine: engine.recover(ANN, RecoveryQuery(0)),
    "drive": lambda engine: engine.drive(RunOffer(ID, 1)),
    "check": lambda engine: engine.check(),
}


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on a loop whose clock can be moved forward."""
    return fast_loop.BACKEND


async def passes(seconds: float, work: Awaitable[Any]) -> None:
    """Let time pass in steps, for so long that the work must be over."""
    task = asyncio.ensure_future(work)
    for _ in range(int(seconds)):
        await asyncio.sleep(0.005)
        if task.done():
            break
        skip(1)
    assert task.done(), f"not over after {seconds} s"
    await task


# Deadlines


@pytest.mark.parametrize("name", CALLS)
async def test_storage_that_never_answers_ends_every_call(stage: Stage, name: str) -> None:
    """Each call of the engine fails with StoreUnavailable within 70 s."""
    stage.proxy.delay(lambda _: True, 10_000)
    with pytest.raises(StoreUnavailable):
        await passes(LONGEST_S, CALLS[name](stage.engine))


async def test_a_sweep_ends_although_storage_never_answers(stage: Stage) -> None:
    """It is given up for each of its shards, and the heartbeat finds what is due later."""
    stage.proxy.delay(lambda _: True, 10_000)
    await passes(LONGEST_S, stage.engine.sweep(Wakeup("ab", 0)))


async def test_a_heartbeat_ends_although_storage_never_answers(stage: Stage) -> None:
    """It gives up, and the next one tries again."""
    stage.proxy.delay(lambda _: True, 10_000)
    await passes(LONGEST_S, stage.engine.heartbeat())


async def test_work_that_never_ends_fails_at_its_deadline(stage: Stage) -> None:
    """The upstream never finishes. At the deadline the response fails, and the work is stopped."""
    stage.upstream.course = [Status.IN_PROGRESS]
    stage.limit(deadline_ms=3_600_000)
    made = await stage.create(callback_url=CALLBACK_URL)
    stage.clock.advance(3_600)
    record = await stage.finish(made.id)
    assert record.status is Status.FAILED
    assert (await stage.shown(made.id))["error"]["code"] == "deadline_exceeded"
    while Kind.STOP in await stage.kinds(made.id):
        await stage.fire_alarms(made.id)
    assert stage.upstream.stopped == [record.upstream.token]


async def test_work_that_always_raises_is_given_up(stage: Stage) -> None:
    """After five unexpected errors in a row the response fails. There is no sixth try."""
    made = await stage.create()
    stage.upstream.poll_errors = [RuntimeError("unexpected")] * 100
    assert (await stage.finish(made.id)).status is Status.FAILED
    assert len(stage.upstream.poll_errors) >= 90


# Limits


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [{}] * 10_001}, "input"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"metadata": {"x" * 65: "x"}}, "metadata"),
        ({"metadata": {"x": "x" * 513}}, "metadata"),
        ({"model": "m" * 257}, "model"),
        ({"callback_url": f"https://hooks.contoso.com/{'x' * 2_048}"}, "callback_url"),
        ({"reply_to": "x" * 64}, "reply_to"),
    ],
)
def test_every_part_of_a_request_has_a_limit(body: dict[str, Any], param: str) -> None:
    """One above the limit is a 400 that names the field."""
    with pytest.raises(BadRequest) as refused:
        check_request(body)
    assert refused.value.param == param


def check_request(body: dict[str, Any]) -> None:
    """Check a request as a create call does before it stores anything."""
    new = parse_request(orjson.dumps({"model": "m", **body}))
    if new.callback_url:
        check_url(new.callback_url)


# Bad rows


@pytest.mark.parametrize("facts", ["", "{", "[]", '{"status":"odd"}', '{"deliveries":7}'])
async def test_a_damaged_record_stops_no_other_response(stage: Stage, facts: str) -> None:
    """Other responses of the same shard end and call back while its alarm fires again and again."""
    bad = await stage.create()
    good = await _beside(stage, bad.id)
    await stage.put(bad.id, record_key(bad.id), facts=facts)
    record = await stage.finish(good)
    assert record.status is Status.COMPLETED
    stage.clock.advance(15)
    await stage.sweep(bad.id)
    assert [orjson.loads(post.body)["data"]["id"] for post in stage.receiver.posts] == [good]


@pytest.mark.parametrize("key", ["alarm|0", f"alarm|{2:013d}|poll|nonsense", f"alarm|{3:013d}|dream|{ID}"])
async def test_a_row_that_is_not_an_alarm_stops_no_alarm_behind_it(stage: Stage, key: str) -> None:
    """It stays first in its shard, and every sweep acts on the alarms behind it."""
    made = await stage.create()
    await stage.put(made.id, key, facts="{}", write_id="")
    assert (await stage.finish(made.id)).status is Status.COMPLETED


async def _beside(stage: Stage, response_id: str) -> str:
    """Create a response in the same shard as another one, and return its id."""
    while True:
        made = await stage.create(callback_url=CALLBACK_URL)
        if shard_of(made.id) == shard_of(response_id):
            return made.id
