"""What Agent Framework's updates and responses say, read from their public fields: the framework is not imported here.

How a run of the Responses API ended is shown only by the object of the SDK that its answers carry along: a failure
raises nothing, and the text is just shorter.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from shared.core.states import Status
from shared.upstreams.agents.output_events import Piece

_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
_REFUSAL = ("model_output_kind", "refusal")
_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an answer ended, and the fields of the response that say why."""

    status: Status
    fields: Mapping[str, Any]


COMPLETED = Verdict(Status.COMPLETED, {})


def contents(answer: Any) -> list[tuple[str, Any]]:
    """Return the contents of an update or of a whole response, each with a name of the message that it belongs to."""
    if not hasattr(answer, "messages"):
        return [(answer.message_id or "", content) for content in answer.contents]
    return [(str(place), content) for place, message in enumerate(answer.messages) for content in message.contents]


def pieces(message: str, content: Any) -> Iterator[Piece]:
    """Give what a content of that message tells."""
    is_whole = getattr(content, "merge_mode", None) == "replace"
    match content.type:
        case "text":
            kind = "refusal" if _is_refusal(content) else "text"
            yield Piece(kind, content.text or "", message, is_whole=is_whole)
        case "text_reasoning":
            yield Piece("reasoning", content.text or "", content.id or "", is_whole=is_whole)
        case "function_call":
            name, tool = content.call_id or "", content.name or ""
            is_whole = is_whole or isinstance(content.arguments, Mapping)
            yield Piece("call", text_of(content.arguments), name, tool, is_whole=is_whole)
        case "function_result":
            yield Piece("result", text_of(content.result), content.call_id or "")


def usage(found: Sequence[tuple[str, Any]]) -> list[Mapping[str, Any]]:
    """Return what some contents say of tokens used."""
    return [content.usage_details for _, content in found if content.type == "usage" and content.usage_details]


def asks_back(found: Sequence[tuple[str, Any]]) -> bool:
    """Say whether the agent waits for an approval or an input of its user."""
    return any(getattr(content, "user_input_request", None) for _, content in found)


def verdict(answer: Any) -> Verdict | None:
    """Return how the answer ended as far as it says so; None if it says nothing."""
    for raw in _raws(answer):
        status = getattr(raw, "status", None)
        if status in ("failed", "cancelled"):
            return Verdict(Status.FAILED, {"error": _fields(getattr(raw, "error", None))})
        if status == "incomplete":
            details = _fields(getattr(raw, "incomplete_details", None))
            return Verdict(Status.INCOMPLETE, {"incomplete_details": details})
        if status == "completed":
            return COMPLETED
    if reason := _REASONS.get(str(getattr(answer, "finish_reason", None))):
        return Verdict(Status.INCOMPLETE, {"incomplete_details": {"reason": reason}})
    return None


def text_of(value: Any) -> str:
    """Return a value as the text that the contract has in its place: JSON, if it is none."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _raws(answer: Any) -> Iterator[Any]:
    """Give what an answer was made from, and in the end the response of the SDK, or of its event, if there is one."""
    for _ in range(_DEPTH):
        answer = getattr(answer, "raw_representation", None)
        if isinstance(answer, list):
            answer = answer[-1] if answer else None
        yield getattr(answer, "response", None) if hasattr(answer, "sequence_number") else answer


def _fields(value: Any) -> dict[str, Any]:
    names = ("code", "message", "reason")
    return {name: str(given) for name in names if (given := getattr(value, name, None)) is not None}


def _is_refusal(content: Any) -> bool:
    name, value = _REFUSAL
    return (content.additional_properties or {}).get(name) == value
