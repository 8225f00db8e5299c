"""A finished output as stream events, for readers that the upstream's own events did not reach. Pure.

The events follow a `response.in_progress`, which tells readers to discard what they have. A reader that does so gets
the same output, with each text in one delta. Types, fields and order are those of OpenAI's own streams.
https://developers.openai.com/api/reference/resources/responses/streaming-events
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

_Object: TypeAlias = dict[str, Any]

# The fields that later events fill in, by the type of an item.
_EMPTY_ITEM: dict[str, _Object] = {
    "message": {"content": []},
    "reasoning": {"summary": [], "content": []},
    "function_call": {"arguments": ""},
}
# The same for a part of any type.
_EMPTY_PART: _Object = {"text": "", "refusal": "", "annotations": [], "logprobs": []}
# For each list of parts: the name of the events of a part, and the field that holds its index.
_PARTS = {"summary": ("reasoning_summary_part", "summary_index"), "content": ("content_part", "content_index")}
# For each type of part with a text: the name of the events of the text, and the field that holds it.
_TEXTS = {
    "output_text": ("output_text", "text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("reasoning_text", "text"),
    "summary_text": ("reasoning_summary_text", "text"),
}


def output_events(output: Sequence[Any]) -> list[_Object]:
    """Return the events of a finished output, in order, without `sequence_number`.

    The output comes from the upstream, so nothing in it raises. Items and parts that are not objects with a type are
    left out, and the others are numbered without gaps. An item without an id gets an id that is derived from its index.
    """
    return [event for index, item in enumerate(_typed(output)) for event in item_events(index, item)]


def item_events(index: int, item: _Object) -> Iterator[_Object]:
    """Yield the events of one finished item of an output. The item must have a type."""
    place, item_id = {"output_index": index}, _id(index, item)
    # openai-python rejects a call with an id here and none in the final response. The call id identifies it.
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
    """Return the objects of a list that have a type."""
    if not isinstance(values, list | tuple):
        return []
    return [value for value in values if isinstance(value, dict) and isinstance(value.get("type"), str)]


def _replaced(value: _Object, empty: _Object) -> _Object:
    """Return the fields of `empty` that `value` also has."""
    return {name: empty[name] for name in empty.keys() & value.keys()}


def _id(index: int, item: _Object) -> str:
    return _text(item, "id") or f"item_{index}"


def _text(value: _Object, field: str) -> str:
    text = value.get(field)
    return text if isinstance(text, str) else ""
