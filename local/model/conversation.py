"""Input and output items: their shape and their text."""

from collections.abc import Iterable
from typing import Any, TypeAlias

Item: TypeAlias = dict[str, Any]


def input_items(given: str | list[Item], suffix: str) -> list[Item]:
    """Return the input as items that each have a type and an id. `suffix` makes the ids unique."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [_identified(item, f"{suffix}{index:02d}") for index, item in enumerate(given)]


def _identified(item: Item, suffix: str) -> Item:
    if item.get("type", "message") != "message":
        return {"id": f"item_{suffix}", **item}
    return {"id": f"msg_{suffix}", "type": "message", "status": "completed", **item, "content": _parts(item)}


def _parts(message: Item) -> object:
    """Return the content of a message as parts. Clients may send a string instead."""
    content = message.get("content")
    kind = "output_text" if message.get("role") == "assistant" else "input_text"
    return [{"type": kind, "text": content}] if isinstance(content, str) else content


def text_of(item: Item) -> str:
    """Return the text of a message or a tool output, or an empty string for any other item."""
    content = item.get("output") if item["type"] == "function_call_output" else item.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part)


def texts(items: Iterable[Item]) -> list[str]:
    """Return all texts that are not empty."""
    return [text for text in map(text_of, items) if text]


def from_user(items: Iterable[Item]) -> list[Item]:
    """Return what was given to the model, without the answers of this or another model."""
    return [item for item in items if item.get("role") != "assistant"]


def tool_outputs(items: Iterable[Item]) -> list[Item]:
    """Return the outputs of function calls."""
    return [item for item in items if item["type"] == "function_call_output"]


def call_names(items: Iterable[Item]) -> dict[str, str]:
    """Return the name of the called function, by call id."""
    calls = (item for item in items if item["type"] == "function_call")
    return {str(call.get("call_id")): str(call.get("name")) for call in calls}


def word_count(items: Iterable[Item]) -> int:
    """Return the number of words in texts and call arguments. It serves as the number of tokens."""
    return sum(len((text_of(item) or str(item.get("arguments", ""))).split()) for item in items)


def summary_word_count(items: Iterable[Item]) -> int:
    """Return the number of words in the summaries of reasoning items."""
    thoughts = (item for item in items if item["type"] == "reasoning")
    return sum(len(str(part["text"]).split()) for thought in thoughts for part in thought["summary"])
