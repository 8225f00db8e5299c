"""What operators see: enough to find out why something waits, and nothing that a caller has said or was told."""

from shared.core.alarms import Alarm, Kind
from shared.core.entries import DeliveryEntry, Entry
from shared.core.gates.state import Gate, GateState, Line, Phase
from shared.core.records import WaitInfo
from shared.core.states import Status
from shared.operators import views
from shared.operators.views import in_flight, in_trouble, operator_delivery, operator_response, overdue

ID = "resp_0123456789abcdef0123456789abcdef"
OTHER = "resp_ffffffffffffffffffffffffffffffff"
DOWN = WaitInfo("upstream_down", "status 503", 2, 1_000, 9_000)
LIVE = Entry(
    ID, 5_000, "ann", Status.QUEUED, background=True, model="m", metadata={"k": "v"}, deadline_ms=9_000, wait=DOWN
)


def test_an_operator_sees_no_content() -> None:
    """Neither what a caller has written into the metadata, nor a token that names the response for its caller."""
    assert operator_response(LIVE) == {
        "id": ID,
        "object": "response",
        "created_at": 5,
        "status": "queued",
        "completed_at": None,
        "ended_at": None,
        "model": "m",
        "background": True,
        "store": False,
        "error": None,
        "usage": None,
        "waiting": {
            "reason": "upstream_down",
            "detail": "status 503",
            "tries": 2,
            "since": 1,
            "next_at": 9,
            "place": None,
        },
        "caller": "ann",
        "stream": False,
        "deadline_at": 9,
    }


def test_what_is_in_flight_is_counted_by_what_may_explain_it() -> None:
    """The oldest is shown, because it has waited for longest."""
    others = [
        Entry(OTHER, 6_000, "bob", Status.IN_PROGRESS, model="m", stream=True, background=True),
        Entry(OTHER, 7_000, "bob", Status.IN_PROGRESS, model="n"),
    ]
    assert in_flight([*others, LIVE]) == {
        "count": 3,
        "by_kind": {"stream": 1, "foreground": 1, "background": 1},
        "by_status": {"in_progress": 2, "queued": 1},
        "by_model": {"m": 2, "n": 1},
        "by_caller": {"bob": 2, "ann": 1},
        "waiting": {"upstream_down": 1},
        "oldest": operator_response(LIVE),
    }
    assert (in_flight([])["count"], in_flight([])["oldest"]) == (0, None)


def test_overdue_alarms_are_counted_by_kind() -> None:
    """With the time of the first, which says for how long nobody has acted."""
    alarms = [Alarm(9_000, Kind.POLL, ID), Alarm(7_000, Kind.POLL, OTHER), Alarm(8_000, Kind.PURGE, ID)]
    assert overdue(alarms) == {"overdue": 3, "by_kind": {"poll": 2, "purge": 1}, "since": 7}
    assert overdue([]) == {"overdue": 0, "by_kind": {}, "since": None}


def test_deliveries_in_trouble_are_counted_by_host_and_state() -> None:
    """The host with the most comes first."""
    entries = [
        DeliveryEntry(ID, "q", 4_000, "ann", "failed"),
        DeliveryEntry(ID, "c", 3_000, "ann", "pending", "hooks.contoso.com"),
        DeliveryEntry(OTHER, "c", 2_000, "bob", "pending", "hooks.contoso.com"),
    ]
    assert in_trouble(entries) == [
        {"host": "hooks.contoso.com", "state": "pending", "count": 2, "callers": 2, "since": 2},
        {"host": None, "state": "failed", "count": 1, "callers": 1, "since": 4},
    ]


def test_a_delivery_names_its_caller() -> None:
    """Rows of older versions name none."""
    assert operator_delivery(DeliveryEntry(ID, "c", 3_000, "ann", "failed", "example.com")) == {
        "object": "delivery",
        "response_id": ID,
        "target": "callback",
        "state": "failed",
        "host": "example.com",
        "since": 3,
        "caller": "ann",
    }
    assert operator_delivery(DeliveryEntry(ID, "c", 3_000))["caller"] is None


def test_gates_are_shown_with_the_longest_lines_first() -> None:
    """Times are unix seconds, rounded up."""
    closed = GateState(phase=Phase.CLOSED, until_ms=9_001, reason="rate_limit", lines={"ann": Line("ann", put=3)})
    shown = views.gates([(Gate("eu", 40), GateState(used=2)), (Gate("us", None), closed)])
    assert [gate["name"] for gate in shown] == ["us", "eu"]
    assert shown[0] == {
        "name": "us",
        "limit": None,
        "at_work": 0,
        "waiting": 3,
        "state": "closed",
        "reason": "rate_limit",
        "until": 10,
    }
    assert (shown[1]["at_work"], shown[1]["reason"], shown[1]["until"]) == (2, None, None)
