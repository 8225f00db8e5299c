"""A finished output told anew as stream events, for readers whom the upstream's own can no longer reach. Pure.

They follow a `response.in_progress`, which means "drop what you have accumulated", and bring a reader that has done so
to the same output, each text in one delta. Types, fields and order are those of OpenAI's own streams.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

_Object: TypeAlias = dict[str, Any]

# What comes later, by the type of an item and of whatever part.
_EMPTY_ITEM: dict[str, _Object] = {
    "message": {"content": []},
    "reasoning": {"summary": [], "content": []},
    "function_call": {"arguments": ""},
}
_EMPTY_PART: _Object = {"text": "", "refusal": "", "annotations": [], "logprobs": []}
# For each list of parts: the name of a part's events, and the field that numbers it in them.
_PARTS = {"summary": ("reasoning_summary_part", "summary_index"), "content": ("content_part", "content_index")}
# For each type of part that has a text: the name of the text's events, and the field that holds it.
_TEXTS = {
    "output_text": ("output_text", "text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("reasoning_text", "text"),
    "summary_text": ("reasoning_summary_text", "text"),
}


def restated(output: Sequence[Any]) -> list[_Object]:
    """Return the events that tell a finished output, in order, without `sequence_number`.

    The output is foreign, so nothing in it is an error: items and parts that are no objects with a type are left out,
    the others numbered without a gap, and an item without an id gets one by its place, the same every time.
    """
    return [event for index, item in enumerate(_typed(output)) for event in restated_item(index, item)]


def restated_item(index: int, item: _Object) -> Iterator[_Object]:
    """Give the events that tell one finished item of an output; it must say its type."""
    place, item_id = {"output_index": index}, _id(index, item)
    # a call is known by its call id, and openai-python refuses one that has an id here and none in the final response
    done = item if "call_id" in item else item | {"id": item_id}
    added = done | _EMPTY_ITEM.get(item["type"], {}) | _replaced(item, {"status": "in_progress"})
    yield _event("output_item.added", place, item=added)
    yield from _contents(place | {"item_id": item_id}, item)
    yield _event("output_item.done", place, item=done)


def _contents(place: _Object, item: _Object) -> Iterator[_Object]:
    for field in _EMPTY_ITEM.get(item["type"], {}):
        if field == "arguments":
            yield from _arguments(place, item)
        else:
            yield from _parts(place, item, field)


def _arguments(place: _Object, item: _Object) -> Iterator[_Object]:
    arguments = _text(item, "arguments")
    yield _event("function_call_arguments.delta", place, delta=arguments)
    yield _event("function_call_arguments.done", place, name=_text(item, "name"), arguments=arguments)


def _parts(place: _Object, item: _Object, field: str) -> Iterator[_Object]:
    kind, number = _PARTS[field]
    for index, part in enumerate(_typed(item.get(field))):
        here = place | {number: index}
        yield _event(f"{kind}.added", here, part=part | _replaced(part, _EMPTY_PART))
        yield from _texts(here, part)
        yield _event(f"{kind}.done", here, part=part)


def _texts(place: _Object, part: _Object) -> Iterator[_Object]:
    if part["type"] not in _TEXTS:
        return
    kind, field = _TEXTS[part["type"]]
    text = _text(part, field)
    extra: _Object = {"logprobs": []} if kind == "output_text" else {}
    yield _event(f"{kind}.delta", place, delta=text, **extra)
    for index, annotation in enumerate(_typed(part.get("annotations")) if kind == "output_text" else []):
        yield _event(f"{kind}.annotation.added", place, annotation_index=index, annotation=annotation)
    yield _event(f"{kind}.done", place, **{field: text}, **extra)


def _event(kind: str, place: _Object, **fields: Any) -> _Object:
    return {"type": f"response.{kind}", **place, **fields}


def _typed(values: object) -> list[_Object]:
    """Return the objects of a list that say what they are."""
    if not isinstance(values, list | tuple):
        return []
    return [value for value in values if isinstance(value, dict) and isinstance(value.get("type"), str)]


def _replaced(value: _Object, empty: _Object) -> _Object:
    """Return the fields of `empty` that the value has."""
    return {name: empty[name] for name in empty.keys() & value.keys()}


def _id(index: int, item: _Object) -> str:
    return _text(item, "id") or f"item_{index}"


def _text(value: _Object, field: str) -> str:
    text = value.get(field)
    return text if isinstance(text, str) else ""
