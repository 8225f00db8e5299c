"""Seeing to the poison queues: what a trigger could not handle is armed again, or made visible as failed.

A message that named an alarm or a run was a hint; its alarm is in the table, and a sweep of its shard takes it from
there. A request that no trigger could take is given one more chance, under its own name, and then fails.
"""

import orjson

from shared.core.alarms import read_key
from shared.core.errors import BadRequest, ServiceError, StoreError
from shared.core.ids import SHARDS, is_id, shard_of
from shared.lifecycle import queue_intake
from shared.lifecycle.queue_intake import Envelope, Message
from shared.runtime.ports import World
from shared.storage.request_queue import BATCH, POISON, Letter
from shared.storage.wakeups import DELIVERIES, NUDGES, REQUESTS, RUNS
from shared.telemetry import tracing
from shared.telemetry.logs import logger

_log = logger(__name__)

BATCHES = 10  # of 32 messages, for each queue and visit


async def tend(world: World) -> None:
    """Empty the poison queues of all triggers, at most 320 messages each; what storage refuses is left for later."""
    for name in (NUDGES, DELIVERIES, RUNS, REQUESTS):
        try:
            await _empty(world, name)
        except StoreError:
            _log.warning("poison.unread", extra={"queue": name})


async def _empty(world: World, name: str) -> None:
    for _ in range(BATCHES):
        letters = await world.queues.take(name + POISON)
        for letter in letters:
            await (_request(world, letter) if name == REQUESTS else _rearm(world, name, letter))
            await world.queues.drop(name + POISON, letter)
        if len(letters) < BATCH:
            return


async def _rearm(world: World, name: str, letter: Letter) -> None:
    """Ask for a sweep of the shard that a message was about."""
    try:
        shard = _shard(name, orjson.loads(letter.body or b""))
    except (ValueError, KeyError, TypeError):
        _log.error("poison.unreadable", extra={"queue": name, "message_id": letter.id})
        return
    _log.error("poison.rearmed", extra={"queue": name, "message_id": letter.id, "shard": shard})
    await world.nudges.sweep(shard, world.now_ms())


def _shard(name: str, said: dict[str, object]) -> str:
    """Return the shard that a message of a queue is about; raise ValueError, KeyError or TypeError if it names none."""
    if name == NUDGES:
        return _known_shard(str(said["shard"]))
    named = read_key(str(said["alarm"])).id if name == DELIVERIES else str(said["id"])
    if not is_id(named):
        raise ValueError(f"no response: {named}")
    return shard_of(named)


def _known_shard(shard: str) -> str:
    if len(shard) != 1 or shard not in SHARDS:
        raise ValueError(f"no shard: {shard}")
    return shard


async def _request(world: World, letter: Letter) -> None:
    """Send a request that was never refused once more; make any other visible as a response that has failed."""
    message = Message(letter.id, letter.body if letter.body is not None else letter.text.encode())
    envelope, refusal = _judged(letter, queue_intake.opened(message))
    if refusal:
        _log.error(
            "poison.failed",
            extra={"message_id": letter.id, "response": envelope.response_id, "reason": refusal.message},
        )
        with tracing.under(envelope.traceparent):
            await queue_intake.fail(world, envelope, refusal)
        return
    _log.error("poison.rearmed", extra={"queue": REQUESTS, "message_id": letter.id, "response": envelope.response_id})
    await world.queues.put(REQUESTS, orjson.dumps({"id": letter.id, **orjson.loads(message.body), "returned": True}))


def _judged(letter: Letter, envelope: Envelope) -> tuple[Envelope, ServiceError | None]:
    """Return what a message said and why it fails; no reason for one that deserves another chance."""
    if letter.body is None:
        text = "The message is not base64, in which the messages of this queue must be sent."
        return envelope, BadRequest(text, code="invalid_encoding")
    if rejected := _rejected(letter.body):
        return envelope, BadRequest(str(rejected["reason"]), code=str(rejected["code"]))
    if envelope.returned:
        return envelope, ServiceError("The service failed to handle this request.", code="internal_error")
    return envelope, envelope.wrong


def _rejected(body: bytes) -> dict[str, object] | None:
    """Return what the intake noted about a message that it could tell nobody about."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    note = fields.get("rejected") if isinstance(fields, dict) else None
    return note if isinstance(note, dict) and note.keys() == {"reason", "code"} else None
