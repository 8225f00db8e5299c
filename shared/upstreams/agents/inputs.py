"""Converts the input of a request to the form that Agent Framework reads. Pure.

A message is a role and contents. A content is an object with a type. Fields that an agent cannot use are rejected if
ignoring them would change the answer. Tools, for example, come from the agent.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from shared.core.errors import BadRequest

_Object: TypeAlias = dict[str, Any]

_AGENTS_OWN = ("tools", "conversation", "prompt")
_OPTIONS = {
    "instructions": "instructions",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_tokens",
}
_ROLES = frozenset({"user", "assistant", "system", "developer"})
_TEXTS = frozenset({"input_text", "output_text", "text"})


def run_options(request: Mapping[str, Any]) -> _Object:
    """Return the options that the request sets, such as `temperature`, under Agent Framework's names."""
    return {theirs: request[ours] for ours, theirs in _OPTIONS.items() if request.get(ours) is not None}


def input_messages(request: Mapping[str, Any]) -> list[_Object]:
    """Return the input of a request as messages, `{"role": ..., "contents": [...]}`.

    Raises BadRequest naming the field if the request has an item or a field that an agent cannot use.
    """
    for name in _AGENTS_OWN:
        if request.get(name):
            raise BadRequest(f"'{name}' cannot be given to an agent, which has its own.", param=name)
    given = request.get("input")
    if isinstance(given, str):
        return [_message("user", [_text(given)])]
    return [_read(item) for item in given or [] if not _is_reasoning(item)]


def _is_reasoning(item: object) -> bool:
    """Return whether an item is a model's reasoning. An earlier output that is sent back as input contains it."""
    return isinstance(item, dict) and item.get("type") == "reasoning"


def _read(item: object) -> _Object:
    match item:
        case {"type": "function_call_output", "call_id": str(call_id), "output": str(output)}:
            return _message("tool", [{"type": "function_result", "call_id": call_id, "result": output}])
        case {"type": "function_call", "call_id": str(call_id), "name": str(name), "arguments": str(arguments)}:
            call = {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
            return _message("assistant", [call])
    if isinstance(item, dict) and item.get("type", "message") == "message":
        return _read_message(item)
    raise _unknown(item)


def _read_message(item: _Object) -> _Object:
    role, content = item.get("role"), item.get("content")
    if role not in _ROLES:
        raise _unknown(item)
    if isinstance(content, str):
        return _message(role, [_text(content)])
    if not isinstance(content, list):
        raise _unknown(item)
    return _message(role, [_part(part) for part in content])


def _part(part: object) -> _Object:
    match part:
        case {"type": str(kind), "text": str(text)} if kind in _TEXTS:
            return _text(text)
        case {"type": "input_image", "image_url": str(url)}:
            return {"type": "data" if url.startswith("data:") else "uri", "uri": url, "media_type": _media_type(url)}
    raise _unknown(part)


def _media_type(url: str) -> str:
    return url[len("data:") :].partition(";")[0] if url.startswith("data:") else "image/*"


def _message(role: str, contents: list[_Object]) -> _Object:
    return {"role": "system" if role == "developer" else role, "contents": contents}


def _text(text: str) -> _Object:
    return {"type": "text", "text": text}


def _unknown(value: object) -> BadRequest:
    kind = value.get("type", "message") if isinstance(value, dict) else type(value).__name__
    return BadRequest(f"'input' contains an item that an agent cannot be given: {str(kind)[:60]}.", param="input")
