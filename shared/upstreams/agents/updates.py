"""Reads the public fields of Agent Framework's updates and responses. The framework is not imported here.

A run on the Responses API that fails raises nothing, and its text is only shorter. Only the SDK's object inside the
answer shows how the run ended.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from shared.core.states import Status
from shared.upstreams.agents.output_events import Delta, DeltaKind

_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
_REFUSAL = ("model_output_kind", "refusal")
_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Result:
    """How an answer ended, and the fields of the response object that say why."""

    status: Status
    fields: Mapping[str, Any]


COMPLETED = Result(Status.COMPLETED, {})


def contents(answer: Any) -> list[tuple[str, Any]]:
    """Return the contents of an update or of a whole response, as pairs of a message's name and a content.

    In an update, the name is the id of the message, or empty. In a whole response, it is the index of the message.
    """
    if not hasattr(answer, "messages"):
        return [(answer.message_id or "", content) for content in answer.contents]
    return [(str(place), content) for place, message in enumerate(answer.messages) for content in message.contents]


def deltas(message: str, content: Any) -> Iterator[Delta]:
    """Yield the deltas in one content of the message with this name."""
    is_whole = getattr(content, "merge_mode", None) == "replace"
    match content.type:
        case "text":
            kind = DeltaKind.REFUSAL if _is_refusal(content) else DeltaKind.TEXT
            yield Delta(kind, content.text or "", message, is_whole=is_whole)
        case "text_reasoning":
            yield Delta(DeltaKind.REASONING, content.text or "", content.id or "", is_whole=is_whole)
        case "function_call":
            name, tool = content.call_id or "", content.name or ""
            is_whole = is_whole or isinstance(content.arguments, Mapping)
            yield Delta(DeltaKind.CALL, text_of(content.arguments), name, tool, is_whole=is_whole)
        case "function_result":
            yield Delta(DeltaKind.RESULT, text_of(content.result), content.call_id or "")


def usage_details(found: Sequence[tuple[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the usage details among the pairs that `contents` returns."""
    return [content.usage_details for _, content in found if content.type == "usage" and content.usage_details]


def needs_input(found: Sequence[tuple[str, Any]]) -> bool:
    """Return whether the agent waits for its user's approval or input."""
    return any(getattr(content, "user_input_request", None) for _, content in found)


def result_of(answer: Any) -> Result | None:
    """Return how the answer ended, or None if it does not say."""
    for raw in _raw_answers(answer):
        status = getattr(raw, "status", None)
        if status in ("failed", "cancelled"):
            return Result(Status.FAILED, {"error": _fields(getattr(raw, "error", None))})
        if status == "incomplete":
            details = _fields(getattr(raw, "incomplete_details", None))
            return Result(Status.INCOMPLETE, {"incomplete_details": details})
        if status == "completed":
            return COMPLETED
    if reason := _REASONS.get(str(getattr(answer, "finish_reason", None))):
        return Result(Status.INCOMPLETE, {"incomplete_details": {"reason": reason}})
    return None


def text_of(value: Any) -> str:
    """Return a value as text, because the Responses API has strings here. Other values become JSON, None is empty."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _raw_answers(answer: Any) -> Iterator[Any]:
    """Yield the objects that an answer was made from, down to the SDK's response. An SDK event gives its response."""
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
