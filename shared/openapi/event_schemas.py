"""The schemas of events: those of a stream, the one about the end of a response, and an upstream's webhook. Pure.

A test compares the stream's events with the types of OpenAI's SDK, both ways.
https://developers.openai.com/api/reference/resources/responses/streaming-events
"""

from shared.contract.requests import EVENTS
from shared.contract.responses import WebhookEvent
from shared.openapi.response_schemas import EVENT_ID, ITEM, TOKEN
from shared.openapi.schemas import (
    ANYTHING,
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

SIGNATURE = "v1a?,[A-Za-z0-9+/=]+(?: v1a?,[A-Za-z0-9+/=]+)*"
_ITEM = ("item_id", "output_index")
_PART = (*_ITEM, "content_index")
_SUMMARY = (*_ITEM, "summary_index")
_STEPS = {
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
    "compaction": ("compacting",),
    "file_search_call": ("in_progress", "searching", "completed"),
    "image_generation_call": ("in_progress", "generating", "completed"),
    "mcp_call": ("in_progress", "completed", "failed"),
    "mcp_list_tools": ("in_progress", "completed", "failed"),
    "web_search_call": ("in_progress", "searching", "completed"),
}
"""Items whose events only say how far they are."""
_STATUSES = ("created", "queued", "in_progress", "completed", "failed", "incomplete")
_FIELDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_STATUSES, ("response",)),
    **{f"{item}.{step}": _ITEM for item, steps in _STEPS.items() for step in steps},
    "output_item.added": ("output_index", "item"),
    "output_item.done": ("output_index", "item"),
    "content_part.added": (*_PART, "part"),
    "content_part.done": (*_PART, "part"),
    "output_text.delta": (*_PART, "delta", "logprobs"),
    "output_text.done": (*_PART, "text", "logprobs"),
    "output_text.annotation.added": (*_PART, "annotation_index"),
    "refusal.delta": (*_PART, "delta"),
    "refusal.done": (*_PART, "refusal"),
    "reasoning_text.delta": (*_PART, "delta"),
    "reasoning_text.done": (*_PART, "text"),
    "reasoning_summary_part.added": (*_SUMMARY, "part"),
    "reasoning_summary_part.done": (*_SUMMARY, "part"),
    "reasoning_summary_text.delta": (*_SUMMARY, "delta"),
    "reasoning_summary_text.done": (*_SUMMARY, "text"),
    "function_call_arguments.delta": (*_ITEM, "delta"),
    "function_call_arguments.done": (*_ITEM, "arguments"),
    "mcp_call_arguments.delta": (*_ITEM, "delta"),
    "mcp_call_arguments.done": (*_ITEM, "arguments"),
    "custom_tool_call_input.delta": (*_ITEM, "delta"),
    "custom_tool_call_input.done": (*_ITEM, "input"),
    "code_interpreter_call_code.delta": (*_ITEM, "delta"),
    "code_interpreter_call_code.done": (*_ITEM, "code"),
    "image_generation_call.partial_image": (*_ITEM, "partial_image_b64", "partial_image_index"),
    "shell_call_command.added": ("output_index", "command_index", "command"),
    "shell_call_command.delta": ("output_index", "command_index", "delta"),
    "shell_call_command.done": ("output_index", "command_index", "command"),
    "shell_call_output_content.delta": (*_ITEM, "command_index", "delta"),
    "shell_call_output_content.done": (*_ITEM, "command_index", "output"),
    "audio.delta": ("delta",),
    "audio.done": (),
    "audio.transcript.delta": ("delta",),
    "audio.transcript.done": (),
}
"""The fields that each event has beside its type, number and token, by its type without `response.`."""
_OPTIONAL = {"function_call_arguments.done": ("name",), "output_text.annotation.added": ("annotation",)}
_KINDS: dict[str, Schema] = {
    "response": ref("Response"),
    "item": ITEM,
    "part": OBJECT,
    "annotation": ANYTHING,
    "logprobs": list_of(ANYTHING),
    "output": list_of(ANYTHING),
}
"""The schemas of the fields that are neither an index nor a text."""


def event_schemas() -> dict[str, Schema]:
    """Return the schemas by name."""
    names = {name: _schema_name(name) for name in (*(f"response.{one}" for one in _FIELDS), "error")}
    mapping = {name: ref(schema)["$ref"] for name, schema in names.items()}
    about = (
        "An event of a stream. The number only grows, and the token resumes behind the event. A second "
        "`response.in_progress` says that the following events replace the earlier ones. An upstream may send events "
        "of its own, which have a type, a number and a token."
    )
    return {
        "StreamEvent": {
            "oneOf": [*map(ref, names.values()), ref("OtherStreamEvent")],
            "description": about,
            "discriminator": {"propertyName": "type", "mapping": mapping},
        },
        **{names[f"response.{name}"]: _event(name) for name in _FIELDS},
        "ErrorEvent": _error(),
        "OtherStreamEvent": _numbered({"type": {"type": "string", "not": {"enum": list(names)}}}),
        "WebhookEvent": _webhook_event(),
        "UpstreamWebhook": record(
            {"type": TEXT},
            {"data": record({}, {"id": TEXT})},
            "An event of OpenAI's contract. Only those about the end of a response are acted on.",
        ),
    }


def _webhook_event() -> Schema:
    """Return the schema of the event about the end of a response."""
    return typed(
        WebhookEvent,
        "The event about the end of a response. It has the same `id` on every attempt.",
        id=text(EVENT_ID),
        object=const("event"),
        type=one_text_of(EVENTS),
        created_at=TIME,
        timestamp={"type": "string", "format": "date-time"},
        correlation_id=described(TEXT, "Only if a queued request gave one."),
        data={"anyOf": [ref("Response"), record({"id": TEXT, "object": const("response")})]},
        truncated=described({"const": True}, "Only in queues: `data` has only the id of the response."),
    ) | {"required": ["id", "object", "type", "created_at", "timestamp", "data"]}


def _schema_name(kind: str) -> str:
    """Return the name of an event's schema, such as `ResponseOutputTextDeltaEvent`."""
    return "".join(word.capitalize() for word in kind.replace(".", "_").split("_")) + "Event"


def _event(name: str) -> Schema:
    fields = {field: _field(field, name) for field in _FIELDS[name]}
    optional = {field: _field(field, name) for field in _OPTIONAL.get(name, ())}
    return _numbered({"type": const(f"response.{name}"), **fields}, optional)


def _field(field: str, event: str) -> Schema:
    if event == "shell_call_output_content.delta" and field == "delta":
        return OBJECT
    return WHOLE if field.endswith("_index") else _KINDS.get(field, TEXT)


def _numbered(fields: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    token = described(or_null(text(TOKEN)), "Names the event. Null in the last one.")
    return record({**fields, "sequence_number": WHOLE, "continuation_token": token}, optional)


def _error() -> Schema:
    """Return the schema of an `error` event, which has no number if it says that the stream was cut off."""
    event = _numbered(
        {"type": const("error"), "code": ref("StreamErrorCode"), "message": TEXT, "param": or_null(TEXT)},
    )
    about = "A failure, which `response.failed` follows. Or the stream was cut off, and then it has no number."
    return {**event, "required": ["type", "code", "message", "param"], "description": about}
