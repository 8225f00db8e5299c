"""What operators see has the members that the document names, and no other ones."""

from shared.core.alarms import Alarm, Kind
from shared.core.entries import DeliveryEntry, Entry
from shared.core.gates.state import Gate, GateState
from shared.core.records import WaitInfo
from shared.core.states import Status
from shared.core.usage import UsageSums
from shared.openapi.operator_schemas import operator_schemas
from shared.operators import views
from shared.telemetry.rates import Rates
from tests.support.described_api import SCHEMAS, check, faults_in

ID = "resp_0123456789abcdef0123456789abcdef"
DOWN = WaitInfo("upstream_down", "status 503", 2, 1_000, 9_000)
LIVE = Entry(ID, 5_000, "ann", Status.QUEUED, background=True, model="m", deadline_ms=9_000, wait=DOWN)
FAILED = DeliveryEntry(ID, "c", 5_000, "ann", "failed", "hooks.contoso.com")
NOW_MS = 1_800_000_000_000
GATE = (Gate("main", 5), GateState())


def status(*, is_busy: bool) -> views.Status:
    """Return how a service is that has one of everything, or nothing."""
    entries, failed = ([LIVE], [FAILED]) if is_busy else ([], [])
    rates = Rates()
    if is_busy:
        rates.note("accepted", NOW_MS - 60_000)
        rates.note("completed", NOW_MS)
    return {
        "object": "operator.status",
        "at": 1_800_000_000,
        "in_flight": views.in_flight(entries),
        "alarms": views.overdue([Alarm(5_000, Kind.POLL, ID)] if is_busy else []),
        "deliveries_in_trouble": views.in_trouble(failed),
        "gates": views.gates([GATE] if is_busy else []),
        "this_process": {"last_hour": rates.last_hour(NOW_MS), "by_minute": rates.by_minute(NOW_MS)},
        "is_whole": True,
    }


def test_the_status_is_as_documented() -> None:
    """Of a service at work, and of one that is idle."""
    check("OperatorStatus", status(is_busy=True))
    check("OperatorStatus", status(is_busy=False))


def test_a_kind_that_does_not_exist_is_not_documented() -> None:
    """The names of what is counted are those of the code."""
    shown = status(is_busy=True)
    shown["alarms"] = {**shown["alarms"], "by_kind": {"sleep": 1}}
    assert len(faults_in({"$ref": "#/components/schemas/OperatorStatus"}, shown)) == 1


def test_a_minute_has_its_time_and_counts() -> None:
    """Of each minute that had any. Without its time, or with a text in place of a count, it is none."""
    counted = status(is_busy=True)["this_process"]
    assert counted["by_minute"] == [{"at": 1_799_999_940, "accepted": 1}, {"at": 1_800_000_000, "completed": 1}]
    for wrong in ({"accepted": 1}, {"at": 1_800_000_000, "accepted": "one"}):
        shown = status(is_busy=True) | {"this_process": {**counted, "by_minute": [wrong]}}
        assert len(faults_in({"$ref": "#/components/schemas/OperatorStatus"}, shown)) == 1


def test_lists_are_as_documented() -> None:
    """Each says whether it was made of all rows."""
    check("OperatorResponseList", views.operator_responses([LIVE], LIVE.place))
    check("OperatorResponse", views.operator_response(LIVE))
    check("OperatorDeliveryPage", views.operator_deliveries([FAILED], FAILED.place))
    check("OperatorDelivery", views.operator_delivery(DeliveryEntry(ID, "q", 5_000)))


def test_usage_names_the_caller() -> None:
    """That is what the callers' own usage does not have."""
    sums = [UsageSums("ann", "2027-01-31", "m", failed=1)]
    check("OperatorUsage", whole := views.operator_usage(sums, {}))
    assert (whole["is_whole"], whole["incomplete"]) == (True, [])
    shown = views.operator_usage(sums, {}, ["bob"])
    assert (shown["is_whole"], shown["incomplete"]) == (False, ["bob"])
    check("OperatorUsage", shown)
    assert faults_in({"$ref": "#/components/schemas/Usage"}, shown, closed=True) != []


def test_each_schema_has_a_name_of_its_own() -> None:
    """No other part of the document replaces one."""
    for name, schema in operator_schemas().items():
        assert SCHEMAS[name] == schema
