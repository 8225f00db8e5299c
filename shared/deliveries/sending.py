"""Sends the event of one attempt to its target as part of the response's trace. Callbacks are signed."""

from collections.abc import Mapping

from shared import off_loop
from shared.contract import responses, signatures
from shared.core.outcomes import Answer, SendError
from shared.core.records import Delivery, Record, Target
from shared.runtime.ports import Ports
from shared.telemetry import spans
from shared.telemetry.spans import MeasuredSpan


async def send_event(ports: Ports, record: Record, delivery: Delivery, number: int) -> Answer:
    """Send the event about a terminal response to the delivery's target, and return the outcome.

    `number` is that of the attempt in its schedule.

    A callback is signed with all current secrets of the caller. If it has none, nothing is sent, and the outcome is the
    error `unsigned`.
    """
    body = await ports.store.body(record)
    shown = await off_loop.run_packed(body, responses.stored_response, record, body)
    event = responses.webhook_event(record, shown)
    text = await off_loop.run_packed(body, responses.encode, event)
    with _span(record, delivery, number) as span:
        if delivery.target is Target.CALLBACK:
            answer = await _call_back(ports, record, event["id"], text, span.headers())
        else:
            queue = record.request.address(delivery.target)
            answer = await ports.senders[delivery.target].post(queue, {}, responses.for_queue(event, text))
        span.record_answer(answer.status, answer.error)
    return answer


def _span(record: Record, delivery: Delivery, number: int) -> MeasuredSpan:
    address = record.request.address(delivery.target)
    if delivery.target is Target.CALLBACK:
        return spans.callback_span(address, number)
    return spans.reply_span(address)


async def _call_back(ports: Ports, record: Record, event_id: str, body: bytes, trace: Mapping[str, str]) -> Answer:
    caller = ports.callers.named(record.caller)
    now_ms = ports.clock.now_ms()
    secrets = caller.signing(now_ms) if caller else ()
    if caller is None or not secrets:
        return Answer(None, SendError.UNSIGNED, None, 0)
    signed = await off_loop.run(len(body), signatures.signed_headers, secrets, event_id, now_ms // 1000, body)
    headers = {**trace, **signed}
    url = record.request.address(Target.CALLBACK)
    return await ports.senders[Target.CALLBACK].post(url, headers, body, hosts=caller.callback_hosts)
