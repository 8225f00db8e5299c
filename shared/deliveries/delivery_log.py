"""The delivery log: what callers read about the deliveries of a response."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, TypedDict

from shared.core import ids
from shared.core.alarms import alarm_of
from shared.core.outcomes import AttemptEntry, SendError
from shared.core.records import Delivery, Record
from shared.core.states import event_type
from shared.runtime.ports import Ports

UNKNOWN = "unknown"
# Callers see one word for both, so that they do not learn which names exist in the deployment's network.
_UNREACHABLE = (SendError.DNS, SendError.ADDRESS_REFUSED)


class DeliveryView(TypedDict):
    """One delivery as callers read it. Times are unix seconds."""

    target: str  # "callback" or "reply_queue"
    state: str  # as in DeliveryState
    webhook_id: str
    attempts: list[dict[str, Any]]  # as in AttemptEntry
    next_attempt_at: float | None
    waiting_for: str | None  # "circuit_breaker", "capacity" or None


class DeliveryList(TypedDict):
    """The deliveries of a response, as callers read them."""

    object: str  # "list"
    data: list[DeliveryView]


async def deliveries_of(ports: Ports, record: Record) -> list[DeliveryView]:
    """Return the state and the attempts of each delivery of a response."""
    made = await ports.store.attempts(record.id)
    now_ms = ports.clock.now_ms()
    return [
        {
            "target": delivery.target.label,
            "state": delivery.state.value,
            "webhook_id": ids.event_id(record.id, event_type(record.status)),
            "attempts": log_of(delivery, (entry for target, entry in made if target == delivery.target), now_ms),
            "next_attempt_at": _next_attempt_s(delivery, now_ms),
            "waiting_for": _waiting_for(ports, record, delivery),
        }
        for delivery in record.deliveries
    ]


def log_of(delivery: Delivery, made: Iterable[AttemptEntry], now_ms: int) -> list[dict[str, Any]]:
    """Return the attempts of a delivery in order. A number without a row is shown with the error `unknown`.

    The process that claimed such an attempt has crashed, or could not begin it in time. Whether it sent the event is
    not known. An attempt that may still be under way is not shown.
    """
    rows = {(entry.schedule, entry.attempt): entry for entry in made}
    last = {schedule: max(n for s, n in rows if s == schedule) for schedule, _ in rows}
    if not _may_be_under_way(delivery, now_ms):
        last[delivery.schedule] = max(last.get(delivery.schedule, 0), delivery.number)
    numbers = [(schedule, n) for schedule in sorted(last) for n in range(1, last[schedule] + 1)]
    return [_shown(rows.get(number) or _unknown(*number)) for number in numbers]


def _may_be_under_way(delivery: Delivery, now_ms: int) -> bool:
    return delivery.sending and now_ms < alarm_of(delivery.alarm_key).due_ms


def _unknown(schedule: int, number: int) -> AttemptEntry:
    return AttemptEntry(number, None, None, UNKNOWN, None, None, schedule)


def _next_attempt_s(delivery: Delivery, now_ms: int) -> float | None:
    """Return when the next attempt is due, in unix seconds, or None if none follows or one may be under way."""
    if not delivery.is_open or not delivery.alarm_key or delivery.sending:
        return None
    due_ms = alarm_of(delivery.alarm_key).due_ms
    return due_ms / 1000 if due_ms > now_ms else None


def _waiting_for(ports: Ports, record: Record, delivery: Delivery) -> str | None:
    """Return what this process would put off the next attempt for, or None."""
    sender = ports.senders[delivery.target]
    if not delivery.is_open or delivery.sending:
        return None
    host = sender.host(record.request.address(delivery.target))
    outlook = sender.outlook(host, record.caller, first=delivery.attempt == 0)
    if outlook.open_until_ms:
        return "circuit_breaker"
    return "capacity" if outlook.is_long else None


def _shown(entry: AttemptEntry) -> dict[str, Any]:
    return asdict(entry) | ({"error": "no_public_address"} if entry.error in _UNREACHABLE else {})
