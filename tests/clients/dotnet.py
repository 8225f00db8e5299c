"""The .NET client of the Responses contract as data: what Microsoft.Extensions.AI sends, and how it reads answers.

Agent Framework for .NET is built on it. No .NET code runs here. The rules come from its source of August 2026, and are
rewritten in Python. If a field has a kind that its table does not list, the .NET client raises an exception.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
Kinds: TypeAlias = Mapping[str, tuple[type, ...]]

NULL = type(None)

# Requests


def message(text: str) -> Json:
    """Return a user message."""
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


HEADERS = {"accept": "application/json", "user-agent": "OpenAI/2.9.1 (.NET 10.0.1; Linux) MEAI/10.4.0"}
TOOL: Json = {
    "type": "function",
    "name": "GetWeather",
    "description": "Gets the weather",
    "parameters": {
        "type": "object",
        "required": ["place"],
        "properties": {"place": {"type": "string"}},
        "additionalProperties": False,
    },
    "strict": None,
}
START: Json = {"background": True, "input": [message("hello")]}
STREAM: Json = {**START, "stream": True}
FOREGROUND: Json = {"background": False, "input": [message("hello")]}  # other clients leave the field out
WITH_TOOL: Json = {**START, "tools": [TOOL], "tool_choice": "auto"}


def tool_result(call: Json, output: str, previous: str) -> Json:
    """Return the request that answers a tool call. It is chained to the response that made the call."""
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": output}
    return {**WITH_TOOL, "input": [result], "previous_response_id": previous}


def resumption(token: Json) -> dict[str, str]:
    """Return the query of the GET request that resumes a stream."""
    after = token.get("sequenceNumber")
    return {"stream": "true"} if after is None else {"stream": "true", "starting_after": str(after)}


# Answers

STATUSES = {
    "queued": True,  # whether the client makes a token for this status
    "in_progress": True,
    "completed": False,
    "failed": False,
    "incomplete": False,
    "cancelled": False,
}
RESPONSE: Kinds = {
    "id": (str,),
    "object": (str,),
    "created_at": (int,),
    "status": (str,),
    "background": (bool,),  # the client makes a token only if this is `true`
    "model": (str,),
    "output": (list,),
    "error": (dict, NULL),
    "incomplete_details": (dict, NULL),
    "instructions": (str, list, NULL),
    "max_output_tokens": (int, NULL),
    "metadata": (dict,),
    "parallel_tool_calls": (bool,),
    "previous_response_id": (str, NULL),
    "store": (bool,),  # if this is `false`, the client does not chain the next turn
    "temperature": (int, float, NULL),
    "text": (dict, NULL),
    "tool_choice": (str, dict),
    "tools": (list,),
    "top_p": (int, float, NULL),
    "usage": (dict, NULL),
}
USAGE: Kinds = {
    "input_tokens": (int,),
    "input_tokens_details": (dict,),
    "output_tokens": (int,),
    "output_tokens_details": (dict,),
    "total_tokens": (int,),
}
ERROR: Kinds = {"code": (str,), "message": (str,)}
ITEMS: Mapping[str, Kinds] = {
    "message": {"id": (str,), "role": (str,), "status": (str,), "content": (list,)},
    "reasoning": {"id": (str,), "summary": (list,)},
    "function_call": {"id": (str,), "call_id": (str,), "name": (str,), "arguments": (str,)},
}
PART: Kinds = {"type": (str,), "text": (str,), "annotations": (list,)}

PLACE: Kinds = {"item_id": (str,), "output_index": (int,)}
IN_PART: Kinds = {**PLACE, "content_index": (int,)}
IN_SUMMARY: Kinds = {**PLACE, "summary_index": (int,)}
LIFE_CYCLE = ("created", "queued", "in_progress", "completed", "failed", "incomplete")
EVENTS: Mapping[str, Kinds] = {
    **{f"response.{stage}": {"response": (dict,)} for stage in LIFE_CYCLE},
    "response.output_item.added": {"output_index": (int,), "item": (dict,)},
    "response.output_item.done": {"output_index": (int,), "item": (dict,)},
    "response.content_part.added": {**IN_PART, "part": (dict,)},
    "response.content_part.done": {**IN_PART, "part": (dict,)},
    "response.output_text.delta": {**IN_PART, "delta": (str,)},
    "response.output_text.done": {**IN_PART, "text": (str,)},
    "response.function_call_arguments.delta": {**PLACE, "delta": (str,)},
    "response.function_call_arguments.done": {**PLACE, "arguments": (str,)},
    "response.reasoning_summary_part.added": {**IN_SUMMARY, "part": (dict,)},
    "response.reasoning_summary_part.done": {**IN_SUMMARY, "part": (dict,)},
    "response.reasoning_summary_text.delta": {**IN_SUMMARY, "delta": (str,)},
    "response.reasoning_summary_text.done": {**IN_SUMMARY, "text": (str,)},
    "error": {"code": (str, NULL), "message": (str,), "param": (str, NULL)},
}


def _wrong(given: Json, kinds: Kinds, where: str) -> Iterator[str]:
    """Yield the fields that are missing or have the wrong kind. A boolean does not count as a number."""
    for name, allowed in kinds.items():
        if name not in given or type(given[name]) not in allowed:
            yield f"{where}.{name}: {given.get(name, 'missing')!r}"


def wrong_in_response(response: Json) -> Iterator[str]:
    """Yield the fields of a response object that the client cannot read."""
    yield from _wrong(response, RESPONSE, "response")
    if response.get("status") not in STATUSES:
        yield f"response.status: {response.get('status')!r}"
    if response.get("error"):
        yield from _wrong(response["error"], ERROR, "error")
    if response.get("usage"):
        yield from _wrong(response["usage"], USAGE, "usage")
    for item in response.get("output") or []:
        yield from wrong_in_item(item)


def wrong_in_item(item: Json) -> Iterator[str]:
    """Yield the fields of an output item that the client cannot read."""
    yield from _wrong(item, ITEMS[item["type"]], item["type"])
    for part in item.get("content") or []:
        yield from _wrong(part, PART, "part")


def wrong_in_event(event: Json) -> Iterator[str]:
    """Yield the fields of a stream event that the client cannot read."""
    yield from _wrong(event, {"type": (str,), "sequence_number": (int,), **EVENTS[event["type"]]}, event["type"])
    if "response" in event:
        yield from wrong_in_response(event["response"])
    if "item" in event:
        yield from wrong_in_item(event["item"])


# Tokens and updates


def token(response_id: str, status: str | None, background: bool | None, number: int | None = None) -> Json | None:
    """Return the continuation token, or None if the response is not in the background or has ended.

    In a resumed stream the status is unknown (None) until an event contains it. A sequence number is then enough.
    """
    unfinished = number is not None if status is None else STATUSES[status]
    if background is not True or not unfinished:
        return None
    return {"responseId": response_id} if number is None else {"responseId": response_id, "sequenceNumber": number}


def token_of(response: Json) -> Json | None:
    """Return the token of a response that was not streamed. Its own `background` field counts, not the request's."""
    return token(response["id"], response["status"], response.get("background"))


@dataclass(frozen=True)
class Update:
    """The update that a program receives for an event."""

    number: int
    token: Json | None
    text: str = ""
    error: str | None = None
    finish: str | None = None


def updates(events: Iterable[Json], *, background: bool = True, resumed: str | None = None) -> Iterator[Update]:
    """Yield an update for each event.

    `background` is the value in the request. `resumed` is the response id in the token, if the stream is resumed.
    """
    response_id, status, called = resumed or "", None, False
    for event in events:
        if "response" in event:
            response_id, status = event["response"]["id"], event["response"]["status"]
        called |= event.get("item", {}).get("type") == "function_call"
        kind, number = event["type"], event["sequence_number"]
        yield Update(
            number,
            token(response_id, status, background, number),
            event["delta"] if kind == "response.output_text.delta" else "",
            event["message"] if kind == "error" else None,
            ("tool_calls" if called else "stop") if kind == "response.completed" else None,
        )
