"""Sending the event of one attempt to its target, signed where that is a URL, as a piece of the response's trace."""

from collections.abc import Mapping
from typing import Any

from shared.contract import responses, signatures
from shared.core import blobs
from shared.core.outcomes import Answer, SendError
from shared.core.records import CALLBACK, Delivery, Record
from shared.runtime.ports import World
from shared.telemetry import spans
from shared.telemetry.spans import Exchange


def address(record: Record, target: str) -> str:
    """Return where a target is: a URL, or the name of a queue."""
    return (record.callback_url if target == CALLBACK else record.reply_to) or ""


async def send(world: World, record: Record, delivery: Delivery) -> Answer:
    """Send the event; return what that brought."""
    event = responses.event(record, blobs.unpack(await world.store.body(record)))
    with _exchange(record, delivery) as exchange:
        if delivery.target == CALLBACK:
            answer = await _call_back(world, record, event, exchange.headers())
        else:
            answer = await world.senders[delivery.target].post(
                address(record, delivery.target), {}, responses.fitting(event)
            )
        exchange.answered(answer.status, answer.error)
    return answer


def _exchange(record: Record, delivery: Delivery) -> Exchange:
    if delivery.target == CALLBACK:
        return spans.calling_back(address(record, CALLBACK), delivery.attempt - delivery.before)
    return spans.replying(address(record, delivery.target))


async def _call_back(world: World, record: Record, event: dict[str, Any], traced: Mapping[str, str]) -> Answer:
    body = responses.encode(event)
    caller = world.callers.named(record.caller)
    now_ms = world.now_ms()
    secrets = caller.signing(now_ms) if caller else ()
    if caller is None or not secrets:
        return Answer(None, SendError.UNSIGNED, None, 0)
    headers = {**traced, **signatures.headers(secrets, str(event["id"]), now_ms // 1000, body)}
    return await world.senders[CALLBACK].post(address(record, CALLBACK), headers, body, hosts=caller.callback_hosts)
