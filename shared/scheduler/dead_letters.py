"""Dead letters: messages that no trigger could handle become wake-ups or failed responses.

A message about an alarm or a run was only a hint. Its alarm is in the table, and a sweep of the shard finds it. A
request that no trigger could handle gets one more try, under its own id, and then fails.

Each letter has an edge of its own. One that cannot be handled stays in its queue, is logged as an error at each visit,
and holds up none behind it.
"""

from shared.core.errors import BadRequest, ServiceError, StoreError, StoreUnavailable, UnreadableMessage, UnreadableRow
from shared.runtime.ports import Ports
from shared.starts import queue_intake
from shared.storage import messages
from shared.storage.messages import HINTS, INTERNAL, POISON, REQUESTS, QueuedRequest
from shared.storage.request_queue import BATCH, DeadLetter
from shared.telemetry import tracing
from shared.telemetry.logs import logger

_log = logger(__name__)

BATCHES = 10  # of 32 messages, per queue and visit
OUTAGE = 3  # letters in a row that storage did not answer for, which is no fault of a letter


async def drain(ports: Ports) -> None:
    """Empty the poison queues of all triggers, at most 320 messages each. If storage fails, the rest stays there."""
    for name in INTERNAL:
        try:
            await _drain_queue(ports, name)
        except StoreError:
            _log.warning("poison.unread", extra={"queue": name})


async def _drain_queue(ports: Ports, name: str) -> None:
    failures = 0
    for _ in range(BATCHES):
        letters = await ports.requests.receive(name + POISON)
        for letter in letters:
            failures = 0 if await _handle_safely(ports, name, letter) else failures + 1
            if failures == OUTAGE:
                raise StoreUnavailable
        if len(letters) < BATCH:
            return


async def _handle_safely(ports: Ports, name: str, letter: DeadLetter) -> bool:
    """Act on a message and delete it, or leave it if that fails. Return False if storage did not answer."""
    try:
        await (_handle_request(ports, letter) if name == REQUESTS else _wake_shards(ports, name, letter))
        await ports.requests.delete(name + POISON, letter)
    except UnreadableRow as error:
        _log.error("row.unreadable", extra={"message_id": letter.id, "reason": str(error)})
    except StoreUnavailable:
        _log.warning("poison.unread", extra={"queue": name, "message_id": letter.id})
        return False
    except Exception:  # noqa: BLE001 - the edge between one letter and the others
        _log.exception("poison.unhandled", extra={"queue": name, "message_id": letter.id})
    return True


async def _wake_shards(ports: Ports, name: str, letter: DeadLetter) -> None:
    """Ask for a sweep of the shards that a hint is about."""
    try:
        shards = HINTS[name].decode(letter.body or b"").shards
    except UnreadableMessage:
        _log.error("poison.unreadable", extra={"queue": name, "message_id": letter.id})
        return
    _log.error("poison.rearmed", extra={"queue": name, "message_id": letter.id, "shards": shards})
    for shard in shards:
        await ports.wakeups.sweep(shard, ports.clock.now_ms())


async def _handle_request(ports: Ports, letter: DeadLetter) -> None:
    """Send a request to its queue once more, or make it a failed response if `_refusal` returns a reason."""
    body = letter.body if letter.body is not None else letter.text.encode()
    queued = QueuedRequest.read(letter.id, body)
    if refusal := _refusal(letter, queued):
        _log.error(
            "poison.failed",
            extra={"message_id": letter.id, "response": queued.response_id, "reason": refusal.message},
        )
        with tracing.under(queued.traceparent):
            await queue_intake.fail(ports, queued, refusal)
        return
    _log.error("poison.rearmed", extra={"queue": REQUESTS, "message_id": letter.id, "response": queued.response_id})
    await ports.requests.send(REQUESTS, messages.returned_request(letter.id, body))


def _refusal(letter: DeadLetter, queued: QueuedRequest) -> ServiceError | None:
    """Return why a request fails, or None if it gets another try."""
    if letter.body is None:
        text = "The message is not base64, in which the messages of this queue must be sent."
        return BadRequest(text, code="invalid_encoding")
    if queued.rejected:
        return BadRequest(queued.rejected.reason, code=queued.rejected.code)
    if queued.returned:
        return ServiceError("The service failed to handle this request.", code="internal_error")
    return queued.wrong
