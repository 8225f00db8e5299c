"""The .NET client of the Responses contract as data: what Microsoft.Extensions.AI sends, and what it makes of answers.

Agent Framework for .NET stands on it. None of it runs here; the rules were read in its source of August 2026, and are
told again in Python. A kind that is not the one in a table is an exception there.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
Kinds: TypeAlias = Mapping[str, tuple[type, ...]]

NULL = type(None)

# What it sends


def message(text: str) -> Json:
    """Return a message of the user."""
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
FOREGROUND: Json = {"background": False, "input": [message("hello")]}  # it says so, where others leave it out
WITH_TOOL: Json = {**START, "tools": [TOOL], "tool_choice": "auto"}


def tool_result(call: Json, output: str, previous: str) -> Json:
    """Return the request that answers a call: chained to the response that made it."""
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": output}
    return {**WITH_TOOL, "input": [result], "previous_response_id": previous}


def resumption(token: Json) -> dict[str, str]:
    """Return the query of the GET by which a stream is resumed."""
    after = token.get("sequenceNumber")
    return {"stream": "true"} if after is None else {"stream": "true", "starting_after": str(after)}


# What it reads

STATUSES = {
    "queued": True,  # whether a token is made of it
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
    "background": (bool,),  # without `true` it makes no token
    "model": (str,),
    "output": (list,),
    "error": (dict, NULL),
    "incomplete_details": (dict, NULL),
    "instructions": (str, list, NULL),
    "max_output_tokens": (int, NULL),
    "metadata": (dict,),
    "parallel_tool_calls": (bool,),
    "previous_response_id": (str, NULL),
    "store": (bool,),  # with `false` the next turn is not chained
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
    """Yield the fields that are missing or of another kind; a boolean is no number."""
    for name, allowed in kinds.items():
        if name not in given or type(given[name]) not in allowed:
            yield f"{where}.{name}: {given.get(name, 'missing')!r}"


def wrong_in_response(response: Json) -> Iterator[str]:
    """Yield what the client could not read in a response object."""
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
    """Yield what the client could not read in an output item."""
    yield from _wrong(item, ITEMS[item["type"]], item["type"])
    for part in item.get("content") or []:
        yield from _wrong(part, PART, "part")


def wrong_in_event(event: Json) -> Iterator[str]:
    """Yield what the client could not read in an event of a stream."""
    yield from _wrong(event, {"type": (str,), "sequence_number": (int,), **EVENTS[event["type"]]}, event["type"])
    if "response" in event:
        yield from wrong_in_response(event["response"])
    if "item" in event:
        yield from wrong_in_item(event["item"])


# What it makes of it


def token(response_id: str, status: str | None, background: bool | None, number: int | None = None) -> Json | None:
    """Return the continuation token: none without background, and none at an end.

    Of a resumed stream the status is not known until an event tells it: then the number alone is enough.
    """
    unfinished = number is not None if status is None else STATUSES[status]
    if background is not True or not unfinished:
        return None
    return {"responseId": response_id} if number is None else {"responseId": response_id, "sequenceNumber": number}


def token_of(response: Json) -> Json | None:
    """Return the token of a response that was not streamed: by what it says itself about `background`."""
    return token(response["id"], response["status"], response.get("background"))


@dataclass(frozen=True)
class Update:
    """What a program gets for an event."""

    number: int
    token: Json | None
    text: str = ""
    error: str | None = None
    finish: str | None = None


def updates(events: Iterable[Json], *, background: bool = True, resumed: str | None = None) -> Iterator[Update]:
    """Yield an update for each event; `background` is what was asked for, `resumed` the id that a token named."""
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
