"""What operators see of responses and deliveries. Never prompts, outputs, events, metadata or addresses. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from shared.core.alarms import Alarm
from shared.core.entries import DeliveryEntry, Entry
from shared.core.gates.state import Gate, GateState
from shared.core.prices import Price
from shared.core.usage import UsageSums
from shared.lists.views import UsagePage, delivery_page, delivery_view, list_view, response_view, usage_page

_OF_THE_CALLER = ("metadata", "continuation_token", "previous_response_id")


class Status(TypedDict):
    """How the service is, as operators read it. Times are unix seconds."""

    object: str  # "operator.status"
    at: int
    in_flight: dict[str, Any]
    alarms: dict[str, Any]
    deliveries_in_trouble: list[dict[str, Any]]
    gates: list[dict[str, Any]]
    this_process: dict[str, Any]
    is_whole: bool  # whether all rows were read, or only as many as one request reads


class OperatorUsage(UsagePage):
    """What callers have used, by caller, day and model."""

    incomplete: list[str]  # the callers whose sums are not whole


def operator_usage(
    sums: Sequence[UsageSums], prices: Mapping[str, Price], incomplete: Sequence[str] = ()
) -> OperatorUsage:
    """Return what callers have used, as operators see it. The sums of those that `incomplete` names are not whole."""
    return {**usage_page(sums, prices, with_caller=True, is_whole=not incomplete), "incomplete": list(incomplete)}


def operator_response(entry: Entry) -> dict[str, Any]:
    """Return a response as operators see it."""
    shown = {name: value for name, value in response_view(entry).items() if name not in _OF_THE_CALLER}
    return {**shown, "caller": entry.caller, "stream": entry.stream, "deadline_at": entry.deadline_ms // 1000}


def operator_responses(entries: Iterable[Entry], next_place: str | None, *, is_whole: bool = True) -> dict[str, Any]:
    """Return a page of responses as operators see it. `is_whole`: it was made of all rows."""
    return {**list_view([operator_response(entry) for entry in entries], next_place), "is_whole": is_whole}


def operator_delivery(entry: DeliveryEntry) -> dict[str, Any]:
    """Return a delivery in trouble as operators see it. A row of an older version names no caller."""
    return {**delivery_view(entry), "caller": entry.caller or None}


def in_flight(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return how many responses have not ended, by what matters to find out why, and which is the oldest."""
    oldest = min(entries, key=lambda entry: (entry.created_ms, entry.id), default=None)
    return {
        "count": len(entries),
        "by_kind": _counts(_kind(entry) for entry in entries),
        "by_status": _counts(str(entry.status) for entry in entries),
        "by_model": _counts(entry.model or "" for entry in entries),
        "by_caller": _counts(entry.caller for entry in entries),
        "waiting": _counts(entry.wait.reason for entry in entries if entry.wait.reason),
        "oldest": operator_response(oldest) if oldest else None,
    }


def overdue(alarms: Sequence[Alarm]) -> dict[str, Any]:
    """Return how many alarms should have been acted on, by kind, and since when the first of them."""
    first = min((alarm.due_ms for alarm in alarms), default=None)
    return {
        "overdue": len(alarms),
        "by_kind": _counts(str(alarm.kind) for alarm in alarms),
        "since": first // 1000 if first is not None else None,
    }


def gates(found: Sequence[tuple[Gate, GateState]]) -> list[dict[str, Any]]:
    """Return the gates that limit or have closed an upstream, those with the longest lines first."""
    shown = [
        {
            "name": gate.name,
            "limit": gate.limit,
            "at_work": state.used,
            "waiting": state.waiting,
            "state": str(state.phase),
            "reason": state.reason or None,
            "until": -(-state.until_ms // 1000) or None,
        }
        for gate, state in found
    ]
    return sorted(shown, key=lambda gate: (-int(str(gate["waiting"])), str(gate["name"])))


def in_trouble(entries: Sequence[DeliveryEntry]) -> list[dict[str, Any]]:
    """Return how many deliveries are in trouble, by host and state, most first, and since when the first of them."""
    groups: dict[tuple[str, str], list[DeliveryEntry]] = {}
    for entry in entries:
        shown = delivery_view(entry)
        groups.setdefault((entry.host, shown["state"]), []).append(entry)
    counted = [
        {
            "host": host or None,
            "state": state,
            "count": len(found),
            "callers": len({entry.caller for entry in found}),
            "since": min(entry.at_ms for entry in found) // 1000,
        }
        for (host, state), found in groups.items()
    ]
    return sorted(counted, key=lambda group: -int(str(group["count"])))


def operator_deliveries(
    entries: list[DeliveryEntry], next_place: str | None, *, is_whole: bool = True
) -> dict[str, Any]:
    """Return a page of deliveries in trouble as operators see it. `is_whole` is as in `operator_responses`."""
    shown = [operator_delivery(entry) for entry in entries]
    return {**delivery_page(entries, next_place), "data": shown, "is_whole": is_whole}


def _kind(entry: Entry) -> str:
    if entry.stream:
        return "stream"
    return "background" if entry.background else "foreground"


def _counts(names: Iterable[str]) -> Mapping[str, int]:
    return dict(Counter(names).most_common())
