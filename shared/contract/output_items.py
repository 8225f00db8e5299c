"""The items of an output: as an answer has them, and from a stream for an end that comes without. Pure.

Some upstreams stream every item and leave the `output` of the terminal event empty or out. Work that breaks off has no
other output either. https://developers.openai.com/api/reference/resources/responses/streaming-events
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from shared import json_text
from shared.core import blobs
from shared.core.event_log import Event

_DONE = "response.output_item.done"
_TEXT_DONE, _TEXT_DELTA = "response.output_text.done", "response.output_text.delta"
MAX_ITEMS = 10_000  # of one output
# Bytes of JSON of the items of one output, as of a whole answer. What repeats itself is packed to a thousandth, so the
# limit of what is kept does not bound what each reader gets.
MAX_TEXT = 33_554_432
# What a part of a text, and each piece of it, counts beside its characters, because an empty one needs memory, too.
_PART, _PIECE = 256, 16


def index_in(sent: Mapping[str, Any]) -> int | None:
    """Return the place of an event in the output, which is 0 to 9,999. Any other number is none."""
    index = sent.get("output_index")
    return index if isinstance(index, int) and 0 <= index < MAX_ITEMS else None


def items_in(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the output of an answer as a list of items.

    Some servers give one item without a list, or only a text, as the output or as the content of a message.
    """
    output = answer.get("output")
    if isinstance(output, str):
        return message(output)
    listed = output if isinstance(output, list) else [output]
    return [_with_parts(item) for item in listed if isinstance(item, dict) and item]


def message(text: object) -> list[dict[str, Any]]:
    """Return an output with this text, or none without one."""
    if not isinstance(text, str) or not text:
        return []
    return [{"id": "msg_0", "type": "message", "role": "assistant", "status": "completed", "content": _parts(text)}]


def _with_parts(item: dict[str, Any]) -> dict[str, Any]:
    is_text = item.get("type") == "message" and isinstance(item.get("content"), str)
    return {**item, "content": _parts(item["content"])} if is_text else item


def _parts(text: str) -> list[dict[str, Any]]:
    return [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]


@dataclass(frozen=True, slots=True)
class Told:
    """What an event tells of the output: its members, without an item, and the item packed.

    `size` is the number of bytes of JSON of the item.
    """

    kind: str
    said: Mapping[str, Any] = field(repr=False)
    packed: bytes = field(default=b"", repr=False)
    size: int = 0


_NO_ITEM = Told(_DONE, {})


def told_by(event: Event) -> Told | None:
    """Return what an event tells of the output, as callers see it, or None if that is nothing.

    A large event takes seconds.
    """
    if event.kind not in (_DONE, _TEXT_DONE, _TEXT_DELTA):
        return None
    said = json_text.read_tolerantly(event.body)
    if event.kind != _DONE:
        return Told(event.kind, said)
    item = said.pop("item", None)
    if not isinstance(item, dict):
        return None
    text = orjson.dumps(item)
    return Told(event.kind, said, zlib.compress(text, 1), len(text))


class OutputItems:
    """Collects the items of `response.output_item.done` by their `output_index`.

    They are kept compressed, up to 10,000 of them, to the size of the largest output that is kept of a response, and to
    32 MiB of JSON.
    """

    def __init__(self) -> None:
        self.clear()

    def take(self, told: Told | None) -> None:
        """Add what an event tells, as `told_by` has read it. A repeated index replaces its item.

        Some servers tell texts and no items. A text counts until the item of its index is done.
        """
        if told is None or self.is_oversized:
            return
        if told.kind != _DONE:
            self._texts.take(told.said, is_whole=told.kind == _TEXT_DONE)
        else:
            index = self._index(told.said)
            self._texts.drop(index)
            self._put(index, told)

    def clear(self) -> None:
        """Forget everything, because the work begins anew."""
        self._packed: dict[int, Told] = {}
        self._texts = _Texts()
        self._size = 0
        self.text_size = 0  # bytes of JSON of the finished items
        self._next = 0  # the index of an item that names none
        self.is_oversized = False

    @property
    def items(self) -> list[dict[str, Any]]:
        """The items in the order of their indexes, or none if they are too large together."""
        if self.is_oversized:
            return []
        told = self._texts.messages()
        done = {index: blobs.unpack(told.packed) for index, told in self._packed.items()}
        found = {**told, **done}
        return [found[index] for index in sorted(found)]

    def _index(self, said: Mapping[str, Any]) -> int:
        index = index_in(said)
        return self._next if index is None else index

    def _put(self, index: int, told: Told) -> None:
        before = self._packed.get(index, _NO_ITEM)
        self._size += len(told.packed) - len(before.packed)
        self.text_size += told.size - before.size
        self._packed[index] = told
        self._next = max(self._next, index + 1)
        is_large = self._size > blobs.MAX_PACKED or self.text_size > MAX_TEXT
        if is_large or len(self._packed) > MAX_ITEMS:
            self._packed, self._size, self.text_size, self.is_oversized = {}, 0, 0, True


class _Texts:
    """The texts of items that are not done, up to a limit. Above it there are none."""

    def __init__(self) -> None:
        self._pieces: dict[int, dict[int | None, list[str]]] = {}  # by the indexes of the item and of its part
        self._size = 0  # characters, and what the parts and pieces count beside them

    def take(self, said: Mapping[str, Any], *, is_whole: bool) -> None:
        """Add the text of an event: the whole one of a part, or a further piece."""
        index = index_in(said) if "output_index" in said else 0
        text, part = said.get("text" if is_whole else "delta"), said.get("content_index")
        if index is None or not isinstance(text, str) or self._size > blobs.MAX_PACKED:
            return
        pieces = self._part(index, part if isinstance(part, int) else None)
        if is_whole:
            self._size -= _size_of(pieces)
            pieces.clear()
        pieces.append(text)
        self._size += len(text) + _PIECE
        if self._size > blobs.MAX_PACKED:
            self._pieces.clear()

    def _part(self, index: int, part: int | None) -> list[str]:
        parts = self._pieces.setdefault(index, {})
        if part not in parts:
            self._size += _PART
        return parts.setdefault(part, [])

    def drop(self, index: int) -> None:
        """Forget the texts of an item, because it is done."""
        self._size -= sum(_PART + _size_of(pieces) for pieces in self._pieces.pop(index, {}).values())

    def messages(self) -> dict[int, dict[str, Any]]:
        """Return a message for each item that has a text, by its index."""
        texts = {index: "".join(map("".join, parts.values())) for index, parts in self._pieces.items()}
        return {index: {**one, "id": f"msg_{index}"} for index, text in texts.items() for one in message(text)}


def _size_of(pieces: list[str]) -> int:
    return sum(len(piece) + _PIECE for piece in pieces)
