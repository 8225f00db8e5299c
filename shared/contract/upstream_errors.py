"""What an upstream says went wrong, in any of the forms that servers use: in HTTP answers, polls and streams. Pure.

    {"error": {"message", "type", "param", "code"}}     OpenAI, Azure. The code may be a number
    {"error": "text"}, {"error": "name", "message": …}  Ollama, gateways
    {"detail": "text"}, {"detail": [{"loc", "msg"}]}    FastAPI: llama-stack, vLLM
    {"message", "code"}, {"object": "error", …}         vLLM, gateways
    {…, "details": [{"message", "param"}]}              Azure: a general message, and the reasons beside it
    {"title", "errors": {"field": ["text"]}}            ASP.NET: the same
    [{"error": …}]                                      Google
    {"fault": {"faultstring"}}                          Apigee
    {"base_resp": {"status_code", "status_msg"}}        MiniMax
    {"errors": [{"message"}]}, {"code", "msg"}          gateways
    text, a page in HTML                                proxies

In a stream the same stands in an `error` event, in an event without a type, or in a `response.failed` without response.
https://developers.openai.com/api/reference/resources/responses/streaming-events
https://fastapi.tiangolo.com/tutorial/handling-errors
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any

from shared import json_text
from shared.core import blobs
from shared.json_text import InvalidJson

MAX_MESSAGE = 2_000  # characters
MAX_CODE = 100  # characters
MAX_DEPTH = 200  # of an answer, whose error is looked for at every level
_MESSAGES = (
    *("message", "msg", "detail", "details", "error_description", "error_message"),
    *("errors", "title", "reason", "faultstring", "status_msg"),
)
_DETAILS = ("detail", "details", "errors")
_PLACES = ("loc", "path", "param", "target", "field")
_CODES = ("code", "error_code", "errorcode", "status_code")
_ENVELOPES = ("error", "detail", "fault", "base_resp")
_TYPELESS = (*_ENVELOPES, "errors")  # what shows an error in an event without a type
_SIGNS = (*_ENVELOPES, "errors", "message", "msg", "error_message")  # of an error, in a body that is no response
_MAX_LEVELS = 5
# No part reads beyond the next tag, or a page of a million titles would take quadratic time.
_TITLE = re.compile(r"<title[^<>]*>([^<]+)</title>", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_NOTHING = ("", "None", "null")  # what servers write for a code that they do not have
_UNREADABLE = ("\0", "\ufffd")


@dataclass(frozen=True, slots=True)
class ReportedError:
    """The provider's own words, cut to length. `message` is empty if there are none."""

    message: str = ""
    code: str | None = None
    type: str | None = None
    param: str | None = None


def error_in(body: object) -> ReportedError | None:
    """Return the error in a body that is known to report one, decoded from JSON. None means that it says nothing."""
    if isinstance(body, list) and len(body) == 1:
        return error_in(body[0])
    found = _of_object(body) if isinstance(body, dict) else ReportedError(_words(body)[:MAX_MESSAGE])
    return found if found != ReportedError() else None


def error_in_answer(content: bytes) -> ReportedError | None:
    """Return the error in the body of an HTTP answer whose status is one, as JSON, text or a page in HTML.

    JSON over the limits of an answer, or nested deeper than 200, says nothing.
    """
    if json_text.excess(content, json_text.OF_ANSWERS):
        return None
    try:
        body = json_text.read_tolerantly(content)
    except InvalidJson:
        return error_in(_plain(content.decode(errors="replace")))
    is_deep = json_text.openings(content) > MAX_DEPTH and blobs.is_deeper(body, MAX_DEPTH)
    return None if is_deep else error_in(body)


def error_in_result(body: object) -> ReportedError | None:
    """Return the error in a JSON answer that should be a response object, or None if it reports none.

    The caller has found that the body has no status of a response.
    """
    if isinstance(body, list):
        return error_in_result(body[0]) if len(body) == 1 else None
    if not isinstance(body, dict) or not any(body.get(name) for name in _SIGNS):
        return None
    return error_in(body) or ReportedError()


def error_in_event(sent: Mapping[str, Any]) -> ReportedError | None:
    """Return the error that an event of a stream reports, or None if it reports none.

    Events of the contract and events with a provider's name, such as `acme:trace`, may have a member `error` and are
    none.
    """
    return (error_in(dict(sent)) or ReportedError()) if _is_error(sent) else None


def _is_error(sent: Mapping[str, Any]) -> bool:
    kind = sent.get("type")
    if not isinstance(kind, str) or not kind:
        return any(sent.get(name) for name in _TYPELESS) or _is_bare(sent)
    if kind == "response.failed":
        return not isinstance(sent.get("response"), dict)
    if kind in ("error", "response.error"):
        return True
    if kind.startswith("response.") or ":" in kind:
        return False
    return bool(sent.get("error")) or _is_bare(sent) or _names_error(kind)


def _is_bare(sent: Mapping[str, Any]) -> bool:
    """Return whether this is the object that others put under `error`: vLLM's, or one with a message and a code."""
    return sent.get("object") == "error" or (isinstance(sent.get("message"), str) and "code" in sent)


def _names_error(kind: str) -> bool:
    return kind.lower().endswith("error") and "." not in kind


def _of_object(body: Mapping[str, Any]) -> ReportedError:
    """Return the error of an object: its own members, then those of what stands under `error`, which count more."""
    inner, own = _inner(body), _members(body)
    if isinstance(inner, dict):
        return _merged(_of_object(inner), own)
    if isinstance(inner, str) and inner.strip():
        return _with_text(own, inner.strip())
    return own


def _inner(body: Mapping[str, Any]) -> object:
    inner = next((found for name in _ENVELOPES if (found := body.get(name))), None)
    if isinstance(inner, list) and len(inner) == 1 and "error" in body:
        inner = inner[0]
    return inner if isinstance(inner, dict) else body.get("error")


def _merged(inner: ReportedError, outer: ReportedError) -> ReportedError:
    return ReportedError(
        inner.message or outer.message, inner.code or outer.code, inner.type or outer.type, inner.param or outer.param
    )


def _with_text(own: ReportedError, text: str) -> ReportedError:
    """Return the error whose `error` is a text. Beside a message it is the error's name."""
    if own.message and _NAME.fullmatch(text):
        return ReportedError(own.message, own.code or text[:MAX_CODE], own.type, own.param)
    message = f"{text}: {own.message}" if own.message else text
    return ReportedError(message[:MAX_MESSAGE], own.code, own.type, own.param)


def _members(body: Mapping[str, Any]) -> ReportedError:
    kind = _name(body.get("type"), str)
    return ReportedError(
        _message(body)[:MAX_MESSAGE],
        next((code for name in _CODES if (code := _name(body.get(name)))), None) or _status(body.get("status")),
        None if kind in ("error", "response.error", "response.failed") else kind,
        _name(body.get("param"), str) or next((place for name in _DETAILS if (place := _place(body.get(name)))), None),
    )


def _message(body: Mapping[str, Any]) -> str:
    """Return the message of an object, and behind it the reasons that stand beside it."""
    name, text = next(((name, text) for name in _MESSAGES if (text := _words(body.get(name)))), ("", ""))
    reasons = next((more for one in _DETAILS if one != name and (more := _reasons(body.get(one)))), "")
    return f"{text.rstrip('.:')}: {reasons}" if text and reasons not in text else text or reasons


def _reasons(details: object) -> str:
    """Return the words of a list of objects, or of an object with texts by field. Nothing else is a list of reasons."""
    if isinstance(details, dict):
        told = {field: _words(value) for field, value in details.items() if isinstance(value, list)}
        return "; ".join(f"{_path(field)}: {text}" for field, text in told.items() if text)
    return _words([one for one in details if isinstance(one, dict)]) if isinstance(details, list) else ""


def _name(value: object, kinds: type | UnionType = str | int) -> str | None:
    """Return a code, a type or a parameter as text. Some servers send the HTTP status as a number."""
    if isinstance(value, bool) or not isinstance(value, kinds):
        return None
    name = str(value).strip()[:MAX_CODE]
    return None if name in _NOTHING else name


def _status(value: object) -> str | None:
    """Return a status that stands for a code: an HTTP status, or Google's, such as `RESOURCE_EXHAUSTED`."""
    name = _name(value)
    return name if name and not name.islower() else None


def _words(value: object, levels: int = _MAX_LEVELS) -> str:
    """Return the text in a value. The elements of a list are joined. Objects give their message, with its place."""
    if isinstance(value, str):
        return value.strip()
    if not levels or not isinstance(value, list | dict):
        return ""
    if isinstance(value, list):
        return "; ".join(text for one in value if (text := _words(one, levels - 1)))
    text = next((text for name in ("error", *_MESSAGES) if (text := _words(value.get(name), levels - 1))), "")
    place = _place([value])
    return f"{place}: {text}" if place and text else text


def _place(details: object) -> str | None:
    """Return the field that the first detail is about, such as `input.0.role`."""
    first = details[0] if isinstance(details, list) and details else None
    found = next((first[name] for name in _PLACES if first.get(name)), None) if isinstance(first, dict) else None
    if isinstance(found, list):
        found = ".".join(str(one) for one in found if one != "body" and isinstance(one, str | int))
    return _path(found) or None if isinstance(found, str) else None


def _path(found: str) -> str:
    """Return the path of a field. `$` is the body in some of them."""
    return found.removeprefix("$").removeprefix(".")[:MAX_CODE]


def _plain(text: str) -> str:
    """Return the words of a body that is not JSON: the title of a page, or the text unless it is binary."""
    if any(one in text for one in _UNREADABLE):
        return ""
    if text.lstrip().startswith("<"):
        title = _TITLE.search(text)
        return title[1].strip() if title else ""
    return text.strip()
