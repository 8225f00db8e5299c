"""The schemas of what operators see."""

from shared.core.alarms import Kind
from shared.core.gates.state import Phase
from shared.core.states import DeliveryState, Status, WaitReason
from shared.lists.views import DeliveryPage, ListView
from shared.openapi.objects import delivery_in_trouble, usage_of_days
from shared.openapi.response_schemas import response_summary
from shared.openapi.schemas import (
    COUNTS,
    FLAG,
    TEXT,
    TIME,
    WHOLE,
    Schema,
    const,
    described,
    list_of,
    one_text_of,
    or_null,
    record,
    ref,
    typed,
)
from shared.operators import views

_WHOLE_LIST = described(FLAG, "Whether all rows were read, or only as many as one request reads.")
_INCOMPLETE = described(list_of(TEXT), "The callers whose sums are not whole.")
_RESPONSE: dict[str, Schema] = {"caller": TEXT, "stream": FLAG, "deadline_at": TIME}


def operator_schemas() -> dict[str, Schema]:
    """Return the schemas by name."""
    listed, caller = const("list"), {"caller": or_null(TEXT)}
    return {
        "OperatorResponse": record(
            response_summary(**_RESPONSE), {"waiting": ref("Waiting")}, "A response as operators see it."
        ),
        "OperatorResponseList": _with_whole(typed(ListView, object=listed, data=list_of(ref("OperatorResponse")))),
        "OperatorDelivery": record({**delivery_in_trouble(), **caller}),
        "OperatorDeliveryPage": _with_whole(typed(DeliveryPage, object=listed, data=list_of(ref("OperatorDelivery")))),
        "OperatorUsage": _with(usage_of_days(caller=TEXT), incomplete=_INCOMPLETE),
        "OperatorStatus": typed(
            views.Status,
            "How the service is. Times are unix seconds.",
            object=const("operator.status"),
            at=TIME,
            in_flight=_in_flight(),
            alarms=record({"overdue": WHOLE, "by_kind": _counts(Kind), "since": or_null(TIME)}),
            deliveries_in_trouble=list_of(_in_trouble()),
            gates=list_of(_gate()),
            this_process=record({"last_hour": COUNTS, "by_minute": list_of(_minute())}),
            is_whole=_WHOLE_LIST,
        ),
    }


def _with_whole(page: Schema) -> Schema:
    return _with(page, is_whole=_WHOLE_LIST)


def _with(page: Schema, **others: Schema) -> Schema:
    fields = {**page["properties"], **others}
    return {**page, "properties": fields, "required": list(fields)}


def _counts(names: type[Kind | Status | WaitReason]) -> Schema:
    """Return the schema of counts by some of these names."""
    return {**COUNTS, "propertyNames": {"enum": [str(one) for one in names]}}


def _in_flight() -> Schema:
    kinds = {**COUNTS, "propertyNames": {"enum": ["background", "foreground", "stream"]}}
    return record(
        {
            "count": WHOLE,
            "by_kind": kinds,
            "by_status": _counts(Status),
            "by_model": COUNTS,
            "by_caller": COUNTS,
            "waiting": _counts(WaitReason),
            "oldest": or_null(ref("OperatorResponse")),
        },
        about="The responses that have not ended.",
    )


def _minute() -> Schema:
    about = "What was counted in a minute, which began at `at`."
    return {**record({"at": TIME}, about=about), "additionalProperties": WHOLE}


def _in_trouble() -> Schema:
    states = one_text_of(DeliveryState)
    return record({"host": or_null(TEXT), "state": states, "count": WHOLE, "callers": WHOLE, "since": TIME})


def _gate() -> Schema:
    return record(
        {
            "name": TEXT,
            "limit": or_null(WHOLE),
            "at_work": WHOLE,
            "waiting": WHOLE,
            "state": one_text_of(Phase),
            "reason": or_null(TEXT),
            "until": or_null(TIME),
        },
        about="What limits or has closed an upstream.",
    )
