"""The parameters of requests, and the headers of requests and answers. Pure."""

from dataclasses import dataclass

from shared.contract import parameters
from shared.contract.pages import MAX_LIMIT, ORDERS, Page
from shared.core.erasures import SUBJECTS
from shared.core.states import Status
from shared.erasure import orders
from shared.lists.queries import IN_TROUBLE, MOST_DAYS
from shared.openapi.event_schemas import SIGNATURE
from shared.openapi.response_schemas import EVENT_ID, RESPONSE_ID, TOKEN
from shared.openapi.schemas import FLAG, TEXT, WHOLE, Schema, list_of, one_text_of, text

ERASURE_ID = f"{orders.PREFIX}[0-9a-f]{{32}}"
_MOMENT: Schema = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "format": "date-time"}]}
_DAY: Schema = {"type": "string", "format": "date"}
_HOST: Schema = {"type": "string", "examples": ["hooks.contoso.com"]}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a request: `place` is `path`, `query` or `header`."""

    name: str
    place: str
    schema: Schema
    about: str
    required: bool = False

    def shown(self) -> Schema:
        """Return the parameter as the document has it."""
        found: Schema = {"name": self.name, "in": self.place, "description": self.about, "schema": self.schema}
        return found | ({"required": True} if self.required or self.place == "path" else {})


def _query(name: str, schema: Schema, about: str, *, required: bool = False) -> Parameter:
    return Parameter(name, "query", schema, about, required)


def _header(name: str, schema: Schema, about: str, *, required: bool = False) -> Parameter:
    return Parameter(name, "header", schema, about, required)


PATH = {
    "response": Parameter(
        "id", "path", text(f"{RESPONSE_ID}|{TOKEN}"), "The id of a response, or one of its continuation tokens."
    ),
    "erasure": Parameter("id", "path", text(ERASURE_ID), "The id of an erasure."),
    "model": Parameter("id", "path", text(r"\S+", most=256), "The name of a model."),
    "conversation": Parameter("id", "path", text("[A-Za-z0-9_.:-]{1,128}"), "The id of a conversation."),
    "file": Parameter(
        "name", "path", text(r"[a-z]+\.[a-z]+", most=64) | {"examples": ["main.js"]}, "The name of a file of the page."
    ),
    "item": Parameter("item", "path", text("[A-Za-z0-9_.:-]{1,128}"), "The id of an item of the conversation."),
}

LIMIT = _query(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": Page().limit},
    "The greatest number of items.",
)
ORDER = _query("order", {**one_text_of(ORDERS), "default": "desc"}, "`desc` is newest first.")
AFTER = _query("after", TEXT, "The `next_after` of the page before, or the id of its last item.")
INCLUDES = tuple(
    _query(name, list_of(text("[!-~]{1,100}"), most=parameters.MAX_INCLUDES), "What the upstream is asked to add.")
    for name in ("include[]", "include")
)
PAGE = (LIMIT, ORDER, AFTER)
RESPONSES = (
    _query("status", one_text_of(Status), "Only responses with this status."),
    _query("model", TEXT, "Only responses of this model."),
    _query("created_after", _MOMENT, "Only responses created later: unix seconds, or ISO 8601 with its zone."),
    *PAGE,
)
DELIVERIES = (
    _query("state", one_text_of(IN_TROUBLE), "Only deliveries in this state."),
    _query("host", _HOST, "Only deliveries to this host."),
    LIMIT,
    _query("after", TEXT, "The `next_after` of the page before."),
)
RECOVERY = (
    _query("since", _MOMENT, "From when on they failed: unix seconds, or ISO 8601 with its zone.", required=True),
    _query("until", _MOMENT, "Before when they failed."),
    _query("host", _HOST, "Only deliveries to this host."),
    _query("dry_run", FLAG, "Count the deliveries, and begin none."),
)
USAGE = (
    _query("from", _DAY, "The first day, in UTC.", required=True),
    _query("to", _DAY, f"The last day. Today by default, and at most {MOST_DAYS} days in all."),
)
ERASURE = (
    _query("before", _MOMENT, "Only responses created earlier: unix seconds, or ISO 8601 with its zone."),
    *(
        _query(name, text(least=1, most=orders.LONGEST), f"Only responses whose request has this `{name}`.")
        for name in SUBJECTS
    ),
)
STREAM = (
    _query("stream", FLAG, "Answer with the events of the response."),
    _query(
        "starting_after",
        {"anyOf": [{"type": "integer", "minimum": 0}, text(TOKEN)]},
        "The number or the token of the last event that was seen.",
    ),
)
CALLER = _query("caller", TEXT, "Only what belongs to this caller.")
WHOSE = _query("caller", text(least=1), "Whose responses.", required=True)
MODEL = _query("model", TEXT, "The upstream of this model keeps the conversation.")

IDEMPOTENCY = _header(
    "Idempotency-Key",
    text("[!-~]{1,255}"),
    "Requests with the same key, caller and body get the same response.",
)
PREFER = _header(
    "Prefer",
    {"type": "string", "examples": ["respond-async", f"wait={parameters.MAX_WAIT_S}"]},
    f"`wait=N` answers as soon as the response has ended or N seconds have passed, {parameters.MAX_WAIT_S} at most "
    "(RFC 7240).",
)
PREFER_ASYNC = _header(
    PREFER.name,
    PREFER.schema,
    f"{PREFER.about} `respond-async` answers 202, unless the response has ended.",
)
LAST_EVENT = _header("Last-Event-ID", PREFER.schema | {"examples": ["7"]}, "As `starting_after`, which comes first.")
ENCODING = _header(
    "Content-Encoding", one_text_of(("identity", "gzip", "zstd")), "How the body is compressed.", required=False
)
REPEAT = (
    _header(
        "x-stainless-retry-count",
        {"type": "integer", "minimum": 0, "maximum": 9_999},
        "The number of the try, from 0. A foreground call above 0 joins the work of the try before.",
    ),
    _header(
        "x-ms-client-request-id",
        {"type": "string", "format": "uuid"},
        "The idempotency key of a foreground call of Azure's libraries for .NET.",
    ),
)
IF_NONE_MATCH = _header("If-None-Match", TEXT, "The `ETag` of the answer that the client has.")
TRACE = _header("traceparent", TEXT, "The trace that the request belongs to (W3C).")
WEBHOOK = (
    _header("webhook-id", text(EVENT_ID), "The id of the event, the same on every attempt.", required=True),
    _header("webhook-timestamp", text("[0-9]+"), "The time of the attempt, in unix seconds.", required=True),
    _header(
        "webhook-signature",
        text(SIGNATURE),
        "One signature for each secret of the caller, separated by spaces: `v1` is HMAC-SHA256, and `v1a` is ed25519.",
        required=True,
    ),
)
UPSTREAM_WEBHOOK = tuple(_header(one.name, TEXT, one.about, required=True) for one in WEBHOOK)


def answer_headers() -> dict[str, Schema]:
    """Return the headers of answers by the names of their components."""
    return {
        "RequestId": _answer_header("Names this answer. Say it when you report a fault.", text("req_[0-9a-f]{32}"))
        | {"required": True},
        "RetryAfter": _answer_header("How many seconds to wait before the next request.", WHOLE),
        "PollAfter": _answer_header("How many milliseconds to wait before the next poll.", WHOLE),
        "ShouldRetry": _answer_header("`false` if every repeat is refused, too.", one_text_of(("false",))),
        "Location": _answer_header("The path of the response.", TEXT),
        "PreferenceApplied": _answer_header("The preference that was followed.", one_text_of(("respond-async",))),
        "ResponseId": _answer_header("The id of the response, before its body.", text(RESPONSE_ID)),
        "LimitRequests": _answer_header(
            "The requests a minute that the caller may make. A caller without this limit gets none of these headers.",
            WHOLE,
        ),
        "RemainingRequests": _answer_header("How many of them are left.", WHOLE),
        "ResetRequests": _answer_header("When all of them are back, such as `1.500s`.", text(r"[0-9]+\.[0-9]{3}s")),
        "ETag": _answer_header("Names this version of the document.", TEXT),
        "StreamCaching": _answer_header(
            "No cache keeps a stream, or a call that goes on.", one_text_of(("no-cache", "no-cache, no-transform"))
        ),
        "StreamBuffering": _answer_header("Proxies pass on at once what arrives.", one_text_of(("no",))),
        "CacheControl": _answer_header("How long the answer may be kept.", TEXT),
    }


def _answer_header(about: str, schema: Schema) -> Schema:
    return {"description": about, "schema": schema}
