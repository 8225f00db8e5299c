"""An operation of the API: what a function takes and answers, and how the document shows it. Pure."""

from dataclasses import dataclass, field

from shared.openapi import faults
from shared.openapi.faults import Faults
from shared.openapi.parameters import ENCODING, TRACE, Parameter
from shared.openapi.schemas import Schema, ref

EVENTS = "text/event-stream"
JSON = "application/json"
EVERY_ANSWER = {"x-request-id": "RequestId"}
UNFINISHED = {"Retry-After": "RetryAfter", "openai-poll-after-ms": "PollAfter"}
STREAMED = {"Cache-Control": "StreamCaching", "X-Accel-Buffering": "StreamBuffering"}
LIMITS = {
    "x-ratelimit-limit-requests": "LimitRequests",
    "x-ratelimit-remaining-requests": "RemainingRequests",
    "x-ratelimit-reset-requests": "ResetRequests",
}
_OF_NOBODY = (401, 426)  # answered before it is known who calls
_RETRY = {"Retry-After": "RetryAfter"}
_FINAL = {"x-should-retry": "ShouldRetry"}
_REFUSAL = "The upstream's own refusal, with its status, its message and its code."


@dataclass(frozen=True, slots=True)
class Answer:
    """A success. `content` are the names of the schemas by media type, and `headers` those of components by header."""

    status: int
    about: str
    content: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def shown(self) -> Schema:
        """Return the answer as the document has it."""
        streamed = STREAMED if EVENTS in self.content else {}
        found: Schema = {"description": self.about, "headers": _headers(EVERY_ANSWER | streamed | self.headers)}
        content = {kind: {"schema": ref(name)} for kind, name in self.content.items()}
        return found | ({"content": content} if content else {})


def answer(name: str, about: str, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Return an answer with a JSON object."""
    return Answer(status, about, {JSON: name}, headers or {})


@dataclass(frozen=True, slots=True)
class Operation:
    """What the function `name` takes and answers. `path` is below a base, or whole if it `is_at_root`.

    `body` is the name of the schema of the body. `relays`: an upstream may refuse the request, with any 4xx.
    """

    name: str
    method: str
    path: str
    summary: str
    answers: tuple[Answer, ...]
    faults: Faults = ()
    parameters: tuple[Parameter, ...] = ()
    body: str = ""
    needs_body: bool = True
    relays: bool = False
    is_limited: bool = False
    is_public: bool = False
    is_at_root: bool = False

    @property
    def tag(self) -> str:
        """The group of the operation: the first segment of its path, without an extension."""
        return self.path.split("/")[1].partition(".")[0].capitalize()

    @property
    def all_faults(self) -> Faults:
        """Every error answer."""
        needed = () if self.is_public else faults.CALLER
        limited = faults.LIMITED if self.is_limited else ()
        relayed = faults.RELAYED if self.relays else ()
        return (*faults.ANYBODY, *needed, *limited, *relayed, *self.faults)

    def shown(self) -> Schema:
        """Return the operation as the document has it."""
        headers = (ENCODING, TRACE) if self.body else (TRACE,)
        found: Schema = {
            "operationId": self.name,
            "summary": self.summary,
            "tags": [self.tag],
            "parameters": [one.shown() for one in (*self.parameters, *headers)],
        }
        if self.body:
            found["requestBody"] = {"required": self.needs_body, "content": {JSON: {"schema": ref(self.body)}}}
        found["responses"] = {str(one.status): self._with_limits(one.shown()) for one in self.answers} | self._errors()
        return found | ({"security": []} if self.is_public else {})

    def _with_limits(self, shown: Schema) -> Schema:
        return shown if self.is_public else shown | {"headers": shown["headers"] | _headers(LIMITS)}

    def _errors(self) -> Schema:
        shown = {str(status): self._error(status, found) for status, found in faults.by_status(self.all_faults).items()}
        if self.relays:
            shown["4XX"] = self._error(400, ())
        return shown

    def _error(self, status: int, found: Faults) -> Schema:
        """Return an error answer. Every 5xx and 429 says when to try again, and a final one that this is in vain."""
        is_refusal = self.relays and status < 500
        words = [faults.in_words(found), f"- {_REFUSAL}"] if is_refusal else [faults.in_words(found)]
        headers = EVERY_ANSWER | (_RETRY if status >= 500 or status == 429 or is_refusal else {})
        is_final = is_refusal or any(fault.is_final for fault in found)
        headers |= (_FINAL if is_final else {}) | ({} if self.is_public or status in _OF_NOBODY else LIMITS)
        schema = faults.answer_schema(found, is_open=is_refusal)
        description = "\n".join(one for one in words if one)
        return {"description": description, "headers": _headers(headers), "content": {JSON: {"schema": schema}}}


def _headers(names: dict[str, str]) -> Schema:
    return {header: {"$ref": f"#/components/headers/{name}"} for header, name in names.items()}
