"""The schemas of what callers read beside responses: lists, deliveries, usage, erasures and health."""

from shared.contract.pages import ItemList
from shared.core.erasures import SUBJECTS
from shared.core.outcomes import AttemptEntry
from shared.core.records import Target
from shared.core.states import DeliveryState, Status, WaitReason
from shared.deliveries.delivery_log import DeliveryList, DeliveryView
from shared.deliveries.redelivery import RecoveryView
from shared.erasure.orders import Receipt
from shared.lists.views import DeliveryPage, ListView, UsagePage
from shared.openapi.parameters import ERASURE_ID
from shared.openapi.response_schemas import EVENT_ID, ITEM, RESPONSE_ID
from shared.openapi.schemas import (
    FLAG,
    NUMBER,
    OBJECT,
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
    text,
    typed,
)
from shared.upstreams.health import UpstreamState

_NEXT = described(or_null(TEXT), "The `after` of the next page, or null if this is the last one.")
_TARGET = one_text_of(target.label for target in Target)
_ENDED = [status for status in Status if status.is_terminal]
_COUNTED = ("responses", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
_COST = described(or_null(NUMBER), "Null if the settings name no price.")


def object_schemas() -> dict[str, Schema]:
    """Return the schemas by name."""
    listed = const("list")
    return {
        "ResponseList": typed(ListView, object=listed, data=list_of(ref("ListedResponse")), next_after=_NEXT),
        "InputItemList": typed(ItemList, object=listed, data=list_of(ref("InputItem"))),
        "InputItem": {**record({"id": TEXT, "type": TEXT}), "additionalProperties": True},
        "DeletedResponse": record(
            {"id": text(RESPONSE_ID), "object": const("response"), "deleted": {"const": True}},
        ),
        "Attempt": typed(AttemptEntry, "One attempt to send the event. Times are unix seconds."),
        "Delivery": typed(
            DeliveryView,
            "The delivery of the event to one target.",
            target=_TARGET,
            state=one_text_of(DeliveryState),
            webhook_id=text(EVENT_ID),
            attempts=list_of(ref("Attempt")),
            waiting_for={"enum": ["circuit_breaker", "capacity", None]},
        ),
        "DeliveryList": typed(DeliveryList, object=listed, data=list_of(ref("Delivery"))),
        "DeliveryInTrouble": record(delivery_in_trouble(), about="A delivery whose last attempt has failed."),
        "DeliveryPage": typed(DeliveryPage, object=listed, data=list_of(ref("DeliveryInTrouble")), next_after=_NEXT),
        "Recovery": typed(
            RecoveryView,
            object=const("delivery.recovery"),
            recovered=described(WHOLE, "How many deliveries were begun again, or would be in a dry run."),
        ),
        "Usage": usage_of_days(),
        "Erasure": typed(
            Receipt,
            "The receipt of an erasure. Times are unix seconds.",
            id=text(ERASURE_ID),
            object=const("erasure"),
            status=one_text_of((Status.IN_PROGRESS, Status.COMPLETED)),
            by=described(list_of(one_text_of(SUBJECTS)), "The fields of a person's id that were given."),
            failed=described(WHOLE, "Responses that could not be read, and may be left."),
        ),
        "Caller": record(
            {"object": const("caller"), "name": TEXT, "role": {"enum": ["operator", None]}}, about="Whose a key is."
        ),
        "Text": TEXT,
        **_health(),
        **_passed_on(),
    }


def delivery_in_trouble() -> dict[str, Schema]:
    """Return the members of a delivery in trouble."""
    return {
        "object": const("delivery"),
        "response_id": text(RESPONSE_ID),
        "target": _TARGET,
        "state": one_text_of(DeliveryState),
        "host": or_null(TEXT),
        "since": TIME,
    }


def usage_of_days(**others: Schema) -> Schema:
    """Return the schema of what was used, by day and model. Each of its lines has `others`, too."""
    counts = {**dict.fromkeys(_COUNTED, WHOLE), "seconds": NUMBER, "cost": _COST}
    by_status = record({str(status): WHOLE for status in _ENDED})
    line = {**others, "day": {**TEXT, "format": "date"}, "model": or_null(TEXT), "by_status": by_status, **counts}
    is_whole = described(FLAG, "Whether every response is in the sums. If not, some may be missing.")
    return typed(UsagePage, object=const("usage"), data=list_of(record(line)), total=record(counts), is_whole=is_whole)


def _health() -> dict[str, Schema]:
    reason = or_null(one_text_of((WaitReason.UPSTREAM_DOWN, WaitReason.CREDENTIALS)))
    seen = {"upstream": ref("UpstreamSight")}, {"upstreams": {"additionalProperties": ref("UpstreamSight"), **OBJECT}}
    return {
        "Live": record({"status": const("live")}),
        "Ready": record({"status": const("ready"), **seen[0]}, seen[1]),
        "UpstreamHealth": record({"status": const("ok"), **seen[0]}, seen[1]),
        "UpstreamSight": record(
            {"state": one_text_of(UpstreamState), "since": or_null(TIME), "reason": reason},
            about="How this process has last seen an upstream. `reason` is null unless its last calls have failed.",
        ),
        "Received": record({"received": {"const": True}}),
    }


def _passed_on() -> dict[str, Schema]:
    """Return the schemas of what an upstream answers, which is passed on as it is. Each may have more members."""
    named = {"id": TEXT, "object": TEXT}
    known = {
        "Model": record(named, about="As the upstream tells it, with the name that callers use."),
        "ModelList": record({"object": const("list"), "data": list_of(ref("Model"))}),
        "InputTokens": record({"object": TEXT, "input_tokens": WHOLE}),
        "Compaction": record({"object": TEXT, "output": list_of(ITEM)}, {"id": TEXT}),
        "Conversation": record(named),
        "DeletedConversation": record({**named, "deleted": FLAG}),
        "ConversationItem": ITEM,
        "ConversationItemList": record({"object": const("list"), "data": list_of(ITEM)}, {"has_more": FLAG}),
    }
    return {name: {**schema, "additionalProperties": True} for name, schema in known.items()}
