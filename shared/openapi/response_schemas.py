"""The schemas of the response object, and of the request that creates one. Pure.

Only the fields that this service acts on are checked. All others pass through, and the upstream checks them.
https://developers.openai.com/api/reference/resources/responses
"""

from shared.contract import parameters, requests
from shared.contract.requests import EVENTS, MAX_ITEMS
from shared.contract.responses import ErrorDetails
from shared.core.states import Status, WaitReason
from shared.openapi.schemas import (
    ANYTHING,
    FLAG,
    NUMBER,
    OBJECT,
    TEXT,
    TEXTS,
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

RESPONSE_ID = "resp_[0-9a-f]{32}"
EVENT_ID = "evt_[0-9a-f]{32}"
TOKEN = "ct_[A-Za-z0-9_-]+"  # noqa: S105 - the pattern of every token, not one of them
CONTINUATION = described(or_null(text(TOKEN)), "Names the response. Null once it has ended.")
ENDED_AT = described(or_null(TIME), "When the response ended, whatever its status. Null before.")
METADATA = described(
    {**TEXTS, "additionalProperties": text(most=512), "propertyNames": {"maxLength": 64}, "maxProperties": 16},
    "At most 16 pairs of texts.",
)
_TYPED: Schema = {**record({"type": TEXT}), "additionalProperties": True}
ITEM = described(_TYPED, "An item of OpenAI's contract, such as `message`, `function_call` or `reasoning`.")
_READ = record({"cached_tokens": WHOLE}, {"cache_write_tokens": WHOLE})
_TOKENS_READ = {"input_tokens": WHOLE, "input_tokens_details": _READ}
_TOKENS_MADE = {"output_tokens": WHOLE, "output_tokens_details": record({"reasoning_tokens": WHOLE})}
USAGE = record({**_TOKENS_READ, **_TOKENS_MADE, "total_tokens": WHOLE}, about="The tokens that were used.")
WAITING = record(
    {
        "reason": one_text_of(WaitReason),
        "detail": described(TEXT, "What was seen last, such as `status 503`."),
        "tries": described(WHOLE, "How many tries have failed for this reason in a row."),
        "since": TIME,
        "next_at": described(or_null(WHOLE), "When the next try follows, in unix seconds, or null if not known."),
        "place": described(or_null(WHOLE), "Its place in the line of its caller, at most. Only for the reason `turn`."),
    },
    about="What an unfinished response waits for, if that is something other than its work.",
)
_INPUT: Schema = {"anyOf": [TEXT, list_of(OBJECT, most=MAX_ITEMS), {"type": "null"}]}
_INSTRUCTIONS: Schema = {"type": ["string", "array", "null"]}
_CONVERSATION: Schema = {"anyOf": [TEXT, record({"id": TEXT}), {"type": "null"}]}
# Fields of a request that its response repeats. The upstream says what they may contain.
_SAMPLING: dict[str, Schema] = {
    "max_output_tokens": or_null(WHOLE),
    "max_tool_calls": or_null(WHOLE),
    "parallel_tool_calls": FLAG,
    "prompt_cache_key": or_null(TEXT),
    "reasoning": or_null(OBJECT),
    "safety_identifier": or_null(TEXT),
    "service_tier": or_null(TEXT),
    "temperature": or_null(NUMBER),
    "text": OBJECT,
    "tool_choice": {"type": ["string", "object"]},
    "tools": list_of(_TYPED),
    "top_logprobs": or_null(WHOLE),
    "top_p": or_null(NUMBER),
    "truncation": or_null(TEXT),
}


def response() -> Schema:
    """Return the schema of the response object. Every field is always present, but `waiting`."""
    fields = {
        "id": text(RESPONSE_ID),
        "object": const("response"),
        "created_at": TIME,
        "status": one_text_of(Status),
        "completed_at": or_null(TIME),
        "ended_at": ENDED_AT,
        "error": or_null(failure()),
        "incomplete_details": or_null(OBJECT),
        "instructions": _INSTRUCTIONS,
        "model": or_null(TEXT),
        "output": list_of(ITEM),
        "previous_response_id": or_null(TEXT),
        "store": FLAG,
        "background": FLAG,
        **_SAMPLING,
        "presence_penalty": or_null(NUMBER),
        "frequency_penalty": or_null(NUMBER),
        "usage": or_null(ref("TokenUsage")),
        "metadata": METADATA,
        "continuation_token": CONTINUATION,
    }
    about = "OpenAI's response object, with `continuation_token`, `ended_at` and `waiting`. An upstream may add fields."
    return {**record(fields, {"waiting": ref("Waiting")}, about), "additionalProperties": True}


def failure() -> Schema:
    """Return the schema of the reason why a response failed."""
    return typed(ErrorDetails, "Why the response failed.", code=ref("FailureCode"))


def response_summary(**others: Schema) -> dict[str, Schema]:
    """Return the members of a response in a list that all its readers see, and `others`."""
    return {
        "id": text(RESPONSE_ID),
        "object": const("response"),
        "created_at": TIME,
        "status": one_text_of(Status),
        "completed_at": or_null(TIME),
        "ended_at": ENDED_AT,
        "model": or_null(TEXT),
        "background": FLAG,
        "store": FLAG,
        "error": or_null(record({"code": ref("FailureCode")})),
        "usage": or_null(ref("TokenUsage")),
        **others,
    }


def listed_response() -> Schema:
    """Return the schema of a response in its caller's lists."""
    own = {"previous_response_id": or_null(TEXT), "metadata": TEXTS, "continuation_token": CONTINUATION}
    return record(response_summary(**own), {"waiting": ref("Waiting")}, "A response without its prompt and its output.")


def create_request() -> Schema:
    """Return the schema of the body of `POST /responses`: OpenAI's fields, and ours."""
    theirs = {
        "model": or_null(text(least=1, most=256)),
        "input": _INPUT,
        "instructions": _INSTRUCTIONS,
        "background": described(or_null(FLAG), "Answer at once, and go on with the work."),
        "stream": described(or_null(FLAG), "Answer with events."),
        "store": described(or_null(FLAG), "False removes the response 10 minutes after its end."),
        "metadata": or_null(METADATA),
        "previous_response_id": described(
            or_null(text(least=1, most=128)), "The id or a continuation token of an ended response."
        ),
        "conversation": _CONVERSATION,
        "include": or_null(list_of(TEXT, most=parameters.MAX_INCLUDES)),
        **{name: schema if "null" in schema["type"] else or_null(schema) for name, schema in _SAMPLING.items()},
        **dict.fromkeys(_PASSED_ON, ANYTHING),
    }
    return record({}, {**theirs, **_ours()}, "OpenAI's request, and four fields of this service. No field is required.")


def relayed_request() -> Schema:
    """Return the schema of the body of a request that an upstream answers by itself."""
    named = described(or_null(TEXT), "The id or a continuation token of an ended response of the caller.")
    fields = {"model": ANYTHING, "input": _INPUT, "instructions": _INSTRUCTIONS, "conversation": _CONVERSATION}
    return record({}, {**fields, "previous_response_id": named}, "OpenAI's request. The upstream checks the fields.")


# What else OpenAI's SDK sends. The upstream says what it may contain.
_PASSED_ON = (
    *("access_programs", "background_options", "context_management", "image", "moderation", "prompt"),
    *("prompt_cache_options", "prompt_cache_retention", "stream_options", "user"),
)


def _ours() -> dict[str, Schema]:
    """Return the fields that only this service has. The metadata may have them, too."""
    return {
        "callback_url": described(
            or_null(text(least=1, most=2048)), "Where the event about the end is sent. Or `metadata.callback_url`."
        ),
        "callback_events": described(
            or_null(list_of(one_text_of(EVENTS), least=1)), "Which events the callback gets. All by default."
        ),
        "reply_to": described(
            or_null(text(requests.QUEUE.pattern)), "A queue that gets the event, too. Or `metadata.reply_to`."
        ),
        "on_disconnect": described(
            {"enum": [*requests.ON_DISCONNECT, None]},
            "What becomes of a foreground call 5 s after its client has left. Or `metadata.on_disconnect`.",
        ),
    }
