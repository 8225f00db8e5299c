"""Inbound webhooks: the upstream announces that one of its responses has ended.

A webhook only triggers a poll at once, instead of within the minute. The poll then ends the response.
https://developers.openai.com/api/docs/guides/webhooks
"""

from collections.abc import Mapping

import orjson

from shared.contract import signatures
from shared.contract.identifiers import MAX_ID
from shared.contract.signatures import NotVerified
from shared.core.errors import NotFound, Unauthorized
from shared.core.records import ExecutionMode, Record
from shared.core.states import Status, event_type
from shared.lifecycle import polling, upstream_ids
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import update
from shared.telemetry import tracing
from shared.transitions import upstream_transitions
from shared.upstreams.routes import Route

_ENDS = frozenset(event_type(status) for status in Status if status.is_terminal)


def expect(ports: Ports, headers: Mapping[str, str]) -> None:
    """Check what can be known of a webhook without its body. Raises NotFound and Unauthorized as `receive` does."""
    if not any(route.spec.announces_ends for route in ports.upstreams.routes):
        raise NotFound("Webhooks of the upstream are not configured.")
    try:
        signatures.check_headers(headers, ports.clock.now_ms() // 1000)
    except NotVerified as error:
        raise _not_verified(error) from None


async def receive(ports: Ports, headers: Mapping[str, str], body: bytes) -> None:
    """Poll the response whose end a webhook announces, and begin its deliveries.

    `headers` have names in lower case, and `body` is the exact bytes that are signed. Raises NotFound if webhooks are
    not configured, and Unauthorized if the signature is not the upstream's. Raises Unavailable if the upstream does not
    show the end yet, so that it repeats the webhook.
    """
    expect(ports, headers)
    senders = _senders(ports, headers, body)
    if upstream_id := _ended_id(body):
        for route in senders:
            await _end(ports, route, upstream_id)


def _senders(ports: Ports, headers: Mapping[str, str], body: bytes) -> list[Route]:
    """Return the upstreams whose secret has signed a webhook, of which there is usually one."""
    found, refusal = [], NotVerified()
    for route in ports.upstreams.routes:
        if not route.spec.announces_ends:
            continue
        try:
            signatures.verify(route.spec.webhook_secrets, headers, body, ports.clock.now_ms() // 1000)
        except NotVerified as error:
            refusal = error
        else:
            found.append(route)
    if not found:
        raise _not_verified(refusal)
    return found


def _not_verified(error: NotVerified) -> Unauthorized:
    return Unauthorized(f"The webhook is not verified: {error}.", code="invalid_signature")


def _ended_id(body: bytes) -> str | None:
    """Return the upstream's id of the response that has ended, or None for an event about something else."""
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    match event:
        case {"type": str(kind), "data": {"id": str(upstream_id)}} if kind in _ENDS and len(upstream_id) <= MAX_ID:
            return upstream_id
    return None


async def _end(ports: Ports, route: Route, upstream_id: str) -> Record | None:
    """Poll the response that the upstream's id belongs to, and return its record if it has ended, or None."""
    record = await upstream_ids.response_of(ports, route, upstream_id)
    if record and not record.upstream.token:
        record = await update(ports, record, record.id, upstream_transitions.announce_end)
    if record is None or record.status.is_terminal or record.run.mode is not ExecutionMode.POLL:
        return None
    if token := record.upstream.token:
        with tracing.under(record.trace):
            return await polling.end_announced(ports, record, token)
    return None
