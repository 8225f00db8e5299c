"""Every error that the service can answer with: its status, its code and what it means. Pure.

Operations name the groups below. A test compares them with the errors that the code raises, both ways.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from shared.contract.requests import MAX_BODY, MAX_DEPTH, MAX_WEBHOOK
from shared.core import blobs
from shared.core.states import WaitReason
from shared.json_text import OF_REQUESTS
from shared.openapi.schemas import TEXT, Schema, or_null, record, ref


class Fault(NamedTuple):
    """An error answer. `code` is null in the answer if it is None. If it `is_final`, the answer says so in a header."""

    status: int
    code: str | None
    meaning: str
    is_final: bool = False


Faults = tuple[Fault, ...]

ANYBODY: Faults = (
    Fault(426, None, "The request asks for an upgrade to WebSocket, which this service does not speak."),
    Fault(500, None, "The server had an error, or it is not configured correctly."),
)
STORAGE: Faults = (
    Fault(500, "storage", "Storage refuses what the request would write. A repeat is in vain.", is_final=True),
    Fault(503, "storage", "Storage is not available. Try again."),
)
CALLER: Faults = (
    Fault(401, "invalid_api_key", "No caller has the API key that was sent, or none was sent."),
    *STORAGE,
)
OPERATOR: Faults = (Fault(403, "operator_required", "The caller does not have the role `operator`."),)
RECEIVED: Faults = (
    Fault(408, "request_timeout", "The body did not arrive in time."),
    Fault(400, None, "The connection was closed before the body had ended."),
    Fault(400, "invalid_value", "`Content-Encoding` does not fit the body."),
    Fault(415, None, "The body is not JSON, or is compressed in another way than with gzip or zstd."),
)
READ: Faults = (
    *RECEIVED,
    Fault(413, "request_too_large", f"The body is over {MAX_BODY} bytes, or over the caller's own limit."),
)
BODY: Faults = (
    *READ,
    Fault(400, "invalid_json", "The body is missing, or is not valid JSON."),
    Fault(400, "invalid_type", "The body or a field has a wrong type. `param` names the field."),
    Fault(
        400,
        "invalid_value",
        f"A field has a wrong value, or the body has over {MAX_DEPTH} levels, {OF_REQUESTS.containers:,} objects and "
        f"lists, or {OF_REQUESTS.commas:,} commas.",
    ),
)
PARAMETER: Faults = (Fault(400, "invalid_value", "A parameter has a wrong value. `param` names it."),)
MISSING: Faults = (Fault(400, "missing_required", "A parameter is missing. `param` names it."),)
LIMITED: Faults = (Fault(429, "rate_limit_exceeded", "The caller has used up one of its limits."),)
RESPONSE: Faults = (Fault(404, None, "The caller has no such response."),)
ERASURE: Faults = (Fault(404, None, "The caller has ordered no such erasure."),)
CONTINUED: Faults = (
    Fault(400, "previous_response_not_found", "`previous_response_id` names no response that can be continued."),
    Fault(400, "previous_response_not_finished", "`previous_response_id` names a response that has not ended."),
    Fault(400, None, "What is continued is kept where the model is not served, or `conversation` is not an id."),
    Fault(404, "model_not_found", "No upstream serves the model."),
    Fault(404, None, "The caller has no such conversation."),
)
CREATE: Faults = (
    *BODY,
    *LIMITED,
    *CONTINUED,
    Fault(400, "model_not_found", "The deployment has no such agent."),
    Fault(400, "session_not_found", "The agent's session of the previous response is gone."),
    Fault(400, None, "The response of this `Idempotency-Key` was deleted, or a field cannot be given to an agent."),
    Fault(400, "queue_not_allowed", "`reply_to` names a queue that the deployment does not allow."),
    Fault(400, "callback_url_parse", "Two parsers could read `callback_url` differently."),
    Fault(400, "callback_url_scheme", "`callback_url` is not `https`."),
    Fault(400, "callback_url_port", "`callback_url` has a port that is not allowed."),
    Fault(400, "callback_url_address", "`callback_url` contains an address that is not public."),
    Fault(400, "callback_url_host_denied", "`callback_url` names a host that may not be called."),
    Fault(400, "callback_url_unresolvable", "The host of `callback_url` has no public address."),
    Fault(400, "callback_url_unsigned", "The caller has no signing secret."),
    Fault(413, "request_too_large", f"The request is over {blobs.MAX_PACKED} bytes when compressed."),
    Fault(500, "agents_broken", "The agents of the deployment cannot be loaded."),
)
STREAM: Faults = (*PARAMETER, *LIMITED, Fault(400, None, "The response was not created as a stream."))
CANCEL: Faults = (Fault(400, None, "The response has ended, and not by a cancellation."),)
DELETE: Faults = (Fault(400, None, "The response has not ended."),)
REDELIVER: Faults = (
    Fault(400, "response_not_finished", "The response has not ended, so there is nothing to deliver."),
    Fault(400, "no_delivery", "The response has no such delivery."),
    Fault(400, "too_many_attempts", "So many attempts were made that no more can be logged."),
)
USAGE: Faults = (
    *PARAMETER,
    Fault(
        400,
        "too_many",
        "These days have more responses than one call reads. Ask for fewer. One day is always answered.",
    ),
    Fault(503, "busy", "Responses are being purged. Try again."),
)
RELAYED: Faults = (Fault(503, None, "The upstream cannot be asked now. Try again."),)
MODEL: Faults = (
    Fault(404, "model_not_found", "No upstream serves the model."),
    Fault(404, None, "The upstream of this model answers no such calls."),
)
CONVERSATION: Faults = (Fault(404, None, "The caller has no such conversation."),)
WEBHOOK: Faults = (
    *RECEIVED,
    Fault(413, "request_too_large", f"The body is over {MAX_WEBHOOK} bytes."),
    Fault(401, "invalid_signature", "The signature or the time of the webhook is wrong."),
    Fault(404, None, "Webhooks of the upstream are not configured."),
    Fault(503, None, "The upstream does not show the end yet. Send the webhook again."),
    *STORAGE,
)
READY: Faults = (
    Fault(503, "settings", "A setting is wrong. The message names it."),
    Fault(503, "storage", "Storage is not available, or a table or queue is missing."),
    Fault(503, None, "There is no credential for an upstream."),
)
DOWN: Faults = (
    Fault(503, WaitReason.UPSTREAM_DOWN, "An upstream cannot be reached, or answers with errors."),
    Fault(503, WaitReason.CREDENTIALS, "An upstream rejects the service's credentials."),
)
PAGE: Faults = (Fault(404, "console_off", "The setting CONSOLE is off here."),)
FILE: Faults = (Fault(404, None, "The page has no such file."),)
ELSEWHERE: Faults = (
    Fault(404, None, "No such path."),
    Fault(405, None, "The path exists, but not with this method. `Allow` names the methods."),
)
ALL: Faults = (
    *(*ANYBODY, *CALLER, *OPERATOR, *MISSING, *ERASURE, *CREATE, *STREAM, *CANCEL, *DELETE, *REDELIVER, *USAGE),
    *(*RESPONSE, *RELAYED, *MODEL, *CONVERSATION, *WEBHOOK, *READY, *DOWN, *PAGE, *FILE, *ELSEWHERE),
)

FAILURES = {
    "agent_needs_input": "The agent asks for an approval or an input, which nobody can give.",
    "deadline_exceeded": "The response was not finished before its deadline.",
    "internal_error": "The service failed to handle the response.",
    "invalid_encoding": "The message of a queued request is not base64.",
    "invalid_request": "A queued request was refused, and the refusal has no code of its own.",
    "output_too_large": "The answer is larger than this service keeps.",
    "server_error": "The upstream gave no code.",
    "too_large": "The message of a queued request is over its limit.",
    "upstream_invalid": "The upstream's answer is not a response object.",
    "upstream_lost": "The upstream no longer has the work, or ended it before it was complete.",
    "upstream_redirected": "The upstream answered with a redirect, which is not followed.",
    "upstream_refused": "The upstream refused the request, and gave no code.",
    "upstream_removed": "The upstream that took the response is no longer in the settings.",
    "upstream_unavailable": "The upstream could not be started, and the last try may have begun work.",
}
"""The codes of `error` in a failed response, beside those of the upstream. A request that is refused after it was
accepted, such as a queued one, fails with the code of the refusal.
"""

STREAM_ERRORS = {
    "interrupted": "The stream was cut off, and the response goes on. Read on after the last event.",
    "response_cancelled": "The response was cancelled.",
}
"""The codes of `error` events, beside those of `error` in a failed response."""


_ABOUT_FAILURES = (
    "Why a response failed. A request that came by queue and is refused has the code of the refusal, as in "
    "`ErrorCode`. The upstream's own codes come beside."
)


def by_status(faults: Iterable[Fault]) -> dict[int, Faults]:
    """Return errors by their status, in the order of statuses. A code has each of its meanings once."""
    ordered = sorted(dict.fromkeys(faults), key=lambda fault: (fault.status, fault.code or ""))
    return {status: tuple(found) for status, found in groupby(ordered, key=lambda fault: fault.status)}


def in_words(faults: Iterable[Fault]) -> str:
    """Return errors of one status as a list in Markdown."""
    return "\n".join(f"- `{fault.code}`: {fault.meaning}" if fault.code else f"- {fault.meaning}" for fault in faults)


def answer_schema(faults: Iterable[Fault], *, is_open: bool) -> Schema:
    """Return the schema of error answers. If `is_open`, an upstream's own codes are possible beside these."""
    codes = dict.fromkeys(fault.code for fault in faults)
    if is_open or not codes:
        return ref("Error")
    known: Schema = {"enum": list(codes)}
    narrowed: Schema = {"properties": {"error": {"properties": {"code": known}}}}
    return {"allOf": [ref("Error"), narrowed]}


def error_schemas() -> dict[str, Schema]:
    """Return the schemas of errors by name. Each error code stands in one of them, with its meaning."""
    table = [
        f"| {fault.status} | {f'`{fault.code}`' if fault.code else 'null'} | {fault.meaning} |"
        for faults in by_status(ALL).values()
        for fault in faults
    ]
    words = "\n".join(["What went wrong, for programs.", "", "| status | code | meaning |", "|---|---|---|", *table])
    codes = sorted({fault.code for fault in ALL if fault.code})
    kinds = {"type": "string", "examples": ["invalid_request_error", "rate_limit_error", "server_error"]}
    inner = {"message": TEXT, "type": kinds, "param": or_null(TEXT), "code": or_null(ref("ErrorCode"))}
    return {
        "Error": record({"error": record(inner)}, about="OpenAI's envelope. Its four fields are always present."),
        "ErrorCode": _open(codes, f"{words}\n\nAn upstream's refusal has the upstream's own code."),
        "FailureCode": _open(FAILURES, _meanings(FAILURES, _ABOUT_FAILURES)),
        "StreamErrorCode": _open(
            (*STREAM_ERRORS, *FAILURES), _meanings(STREAM_ERRORS, "Why a stream ends. Those of `FailureCode`, and:")
        ),
    }


def _open(codes: Iterable[str], about: str) -> Schema:
    """Return the schema of a text that is one of these codes, or one that only the upstream knows."""
    return {"anyOf": [*({"const": code} for code in codes), TEXT], "description": about}


def _meanings(codes: dict[str, str], about: str) -> str:
    return "\n".join([about, "", *(f"- `{code}`: {meaning}" for code, meaning in codes.items())])
