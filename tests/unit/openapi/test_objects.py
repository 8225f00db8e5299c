"""What callers read beside responses has the members that the document names, and no other ones."""

from dataclasses import asdict

import pytest

from shared.contract import pages
from shared.core.entries import DeliveryEntry, Entry
from shared.core.erasures import Erasure, Wanted
from shared.core.outcomes import AttemptEntry
from shared.core.prices import Price
from shared.core.records import Delivery
from shared.core.states import DeliveryState, Status, WaitReason
from shared.core.usage import UsageSums
from shared.deliveries import delivery_log
from shared.erasure import orders
from shared.lists import views
from shared.openapi.objects import object_schemas
from shared.upstreams.health import Sight, UpstreamState
from tests.support.described_api import SCHEMAS, check

ID = "resp_0123456789abcdef0123456789abcdef"
PLACE = f"{8_199_999_998_500:013d}|{ID}"
SUMS = UsageSums("ann", "2027-01-31", "m", completed=2, input_tokens=10, duration_ms=1_500)
EVENT_ID = f"evt_{'0' * 32}"


def test_a_page_of_responses_is_as_documented() -> None:
    """With a next page, and empty."""
    entry = Entry(ID, 1_500, "ann", Status.QUEUED, model="m")
    check("ResponseList", views.list_view([views.response_view(entry)], PLACE))
    check("ResponseList", views.list_view([], None))


def test_a_page_of_input_items_is_as_documented() -> None:
    """Whatever the items contain."""
    items = pages.input_items(ID, {"input": ["odd", {"role": "user", "content": "q"}, {"type": "item_reference"}]})
    check("InputItemList", pages.page_of(items, pages.Page()))
    check("InputItemList", pages.page_of([], pages.Page()))


@pytest.mark.parametrize("state", ["", *DeliveryState])
def test_a_delivery_in_trouble_is_as_documented(state: str) -> None:
    """Also one of an older version, which names no state and no host."""
    entry = DeliveryEntry(ID, "c", 5_000, "ann", state, "hooks.contoso.com" if state else "")
    check("DeliveryPage", views.delivery_page([entry], entry.place))


@pytest.mark.parametrize("waits_for", ["circuit_breaker", "capacity", None])
def test_the_deliveries_of_a_response_are_as_documented(waits_for: str | None) -> None:
    """With an attempt that was answered, one that was not, and one of which nothing is known."""
    made = [("c", AttemptEntry(1, 5.5, 503, None, 20, 10.0)), ("c", AttemptEntry(3, 5.5, None, "timeout", 20, None))]
    log = delivery_log.log_of(Delivery("c", attempt=3), [entry for _, entry in made], 0)  # type: ignore[arg-type]
    assert len(log) == 3
    view: delivery_log.DeliveryView = {
        "target": "callback",
        "state": "pending",
        "webhook_id": EVENT_ID,
        "attempts": log,
        "next_attempt_at": 7.25,
        "waiting_for": waits_for,
    }
    check("DeliveryList", {"object": "list", "data": [view]})
    check("Attempt", asdict(made[0][1]))


@pytest.mark.parametrize("prices", [{}, {"m": Price(1.0, 0.5, 2.0)}])
def test_usage_is_as_documented(prices: dict[str, Price]) -> None:
    """With and without prices."""
    check("Usage", views.usage_page([SUMS], prices))
    check("Usage", views.usage_page([], prices))


@pytest.mark.parametrize("ended_ms", [0, 1_800_000_001_000])
def test_a_receipt_is_as_documented(ended_ms: int) -> None:
    """While the erasure is under way, and at its end."""
    wanted = Wanted(before_ms=None if ended_ms else 5_000, user="0123456789abcdef")
    check("Erasure", orders.receipt(Erasure(ID, "ann", "ann", 1_800_000_000_000, wanted, ended_ms=ended_ms)))


@pytest.mark.parametrize("reason", [None, WaitReason.UPSTREAM_DOWN, WaitReason.CREDENTIALS])
def test_the_sight_of_an_upstream_is_as_documented(reason: str | None) -> None:
    """The answer of the probes is checked where they run."""
    for state in UpstreamState:
        sight = Sight(state, 1.5 if reason else None, reason)
        shown = {"state": sight.state, "since": int(sight.since_s) if sight.since_s else None, "reason": sight.reason}
        check("UpstreamSight", shown)


def test_each_schema_has_a_name_of_its_own() -> None:
    """No other part of the document replaces one."""
    for name, schema in object_schemas().items():
        assert SCHEMAS[name] == schema
