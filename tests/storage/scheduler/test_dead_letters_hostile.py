"""Hostile dead letters: each has an edge of its own, so that none hides those behind it."""

import base64

import pytest

from shared.core.states import Status
from shared.starts.queue_intake import QueueMessage
from shared.storage.messages import REQUESTS, returned_request
from tests.storage.scheduler.test_dead_letters import ASK, encoded, id_of, left, poisoned
from tests.support.log_capture import WrittenLines, log_events
from tests.support.proxies.fault_proxy import StorageRequest, is_transaction
from tests.support.stage import Stage

GOOD = {"request": ASK, "id": "good", "returned": True, "reply_to": "replies-1"}
BAD = {"request": ASK, "id": "bad", "returned": True}


def is_about_bad(request: StorageRequest) -> bool:
    """Return whether a request would write the failed response of the bad letter."""
    return is_transaction(request) and id_of("bad").encode() in request.body


async def test_a_letter_that_cannot_be_handled_hides_none_behind_it(stage: Stage, written: WrittenLines) -> None:
    """It stays where it is, and the log has an error about it. The other one is answered in the same visit."""
    await poisoned(stage, REQUESTS, encoded(BAD), encoded(GOOD))
    stage.proxy.refuse(is_about_bad, 400)
    await stage.engine.drain_dead_letters()
    assert (await stage.record(id_of("good"))).status is Status.FAILED
    assert log_events(written, "error").count("poison.unhandled") == 1
    assert await left(stage, REQUESTS) == 1


@pytest.mark.parametrize(("count", "handled"), [(2, True), (3, False)])
async def test_an_outage_ends_the_visit(stage: Stage, count: int, handled: bool) -> None:
    """After three letters in a row without an answer of storage, the others would get none either."""
    await poisoned(stage, REQUESTS, *[encoded(BAD)] * count, encoded(GOOD))
    stage.proxy.refuse(is_about_bad)
    await stage.engine.drain_dead_letters()
    assert (await stage.ports.store.read(id_of("good")) is not None) == handled


@pytest.mark.parametrize(
    "body",
    [
        b'{"request":{"model":"m","input":' + b"[" * 1_000 + b"]" * 1_000 + b"}}",
        b'{"request":{"model":"' + b"m" * 33_000 + b'"},"returned":true}',
        b'{"request":{"model":"m","input":[' + b",".join([b"1e15"] * 8_900) + b"]}}",
        b'{"request":7,"rejected":{"reason":"' + b"x" * 40_000 + b'","code":null}}',
    ],
    ids=["deep", "model", "numbers", "reason"],
)
async def test_a_hostile_letter_leaves_the_poison_queue(stage: Stage, body: bytes) -> None:
    """It fails visibly, or goes to its queue once more and is refused there. Nothing of it stays."""
    letters = await poisoned(stage, REQUESTS, base64.b64encode(body).decode())
    stage.sent.clear()
    await stage.engine.drain_dead_letters()
    assert await left(stage, REQUESTS) == 0
    if any(one.queue == REQUESTS for one in stage.sent):
        await stage.engine.take_request(QueueMessage("again", returned_request(letters[0].id, body)))
    assert await stage.record(id_of(letters[0].id))
