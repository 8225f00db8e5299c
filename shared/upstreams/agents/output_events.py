"""An agent's answer told as the events of a response while it comes, and its output as it then is. Pure.

An item is opened by the first piece of it and closed by what cannot belong to it any more; its events are those by
which a finished item is told (restating.py), with the pieces where there the whole text is. Calls may be open side by
side, since models write several at once; anything else is told one after the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import dropwhile, takewhile
from typing import Any, TypeAlias

from shared.contract.synthesized_events import restated, restated_item

_Object: TypeAlias = dict[str, Any]

_IDS = {"text": "msg", "refusal": "msg", "reasoning": "rs", "call": "fc", "result": "fco"}
_COUNTS = ("input_token_count", "output_token_count", "total_token_count")
_CACHED, _REASONING = "cache_read_input_token_count", "reasoning_output_token_count"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer: of a text, a refusal, reasoning, the arguments of a call; or the result of a call.

    `name` is a call's id or a message's, what pieces of one item have in common. `is_whole`: it replaces what came of
    the item before, and is the end of it.
    """

    kind: str  # text | refusal | reasoning | call | result
    text: str = field(default="", repr=False)
    name: str = ""
    tool: str = ""
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class _Open:
    """An item that is being told: its place, and all pieces in one."""

    index: int
    id: str
    so_far: Piece

    def finished(self) -> _Object:
        """Return the item as it is with what there is of it."""
        piece = self.so_far
        match piece.kind:
            case "call":
                named = {"call_id": piece.name, "name": piece.tool, "arguments": piece.text}
                return {"id": self.id, "type": "function_call", "status": "completed", **named}
            case "result":
                named = {"call_id": piece.name, "output": piece.text}
                return {"id": self.id, "type": "function_call_output", "status": "completed", **named}
            case "reasoning":
                summary = [{"type": "summary_text", "text": piece.text}]
                return {"id": self.id, "type": "reasoning", "summary": summary}
        part = {"type": "output_text", "text": piece.text, "annotations": [], "logprobs": []}
        if piece.kind == "refusal":
            part = {"type": "refusal", "refusal": piece.text}
        return {"id": self.id, "type": "message", "status": "completed", "role": "assistant", "content": [part]}

    def events(self) -> list[_Object]:
        """Return the events of the item as finished."""
        return list(restated_item(self.index, self.finished()))


class Narrative:
    """The answer of a response, in the order of its items; `suffix` makes their ids unique.

    It may have come to some items before, in another process.
    """

    def __init__(self, suffix: str, before: Sequence[_Object] = ()) -> None:
        self._suffix = suffix
        self._open: list[_Open] = []
        self._closed: dict[int, _Object] = dict(enumerate(before))
        self._calls = {str(item["call_id"]) for item in before if item["type"] == "function_call"}  # that are closed

    @property
    def output(self) -> list[_Object]:
        """The items told so far, those that are still open as far as they go."""
        items = self._closed | {one.index: one.finished() for one in self._open}
        return [items[index] for index in sorted(items)]

    def begin(self) -> list[_Object]:
        """Return the events that tell again what it had come to before."""
        return restated(list(self._closed.values()))

    def tell(self, piece: Piece) -> list[_Object]:
        """Return the events that tell a piece."""
        found = self._found(piece)
        if found:
            return self._go_on(found, piece)
        if piece.kind == "call" and piece.name in self._calls:
            return []
        if piece.kind != "result" and not piece.text and not piece.tool:
            return []
        return self._begin(piece)

    def end(self) -> list[_Object]:
        """Return the events that close whatever is open."""
        return [event for one in list(self._open) for event in self._close(one)]

    def _found(self, piece: Piece) -> _Open | None:
        """Return the open item that a piece belongs to; a call's later pieces may not say whose they are."""
        same = [one for one in self._open if one.so_far.kind == piece.kind]
        if piece.kind == "call" and not piece.name:
            return same[-1] if same else None
        return next((one for one in same if one.so_far.name == piece.name), None)

    def _begin(self, piece: Piece) -> list[_Object]:
        over = [one for one in self._open if not piece.kind == one.so_far.kind == "call"]
        told = [event for one in over for event in self._close(one)]
        index = len(self._closed) + len(self._open)
        begun = _Open(index, f"{_IDS[piece.kind]}_{self._suffix}{index:04x}", replace(piece, text=""))
        if piece.kind == "result":
            return told + self._close(replace(begun, so_far=piece))
        self._open.append(begun)
        return told + _before_delta(begun.events()) + self._go_on(begun, piece)

    def _go_on(self, one: _Open, piece: Piece) -> list[_Object]:
        before = one.so_far.text
        after = piece.text if piece.is_whole else before + piece.text
        more = after[len(before) :] if after.startswith(before) else ""
        longer = replace(one, so_far=replace(one.so_far, text=after))
        self._open[self._open.index(one)] = longer
        told = [event | {"delta": more} for event in one.events() if _is_delta(event)] if more else []
        return told + (self._close(longer) if piece.is_whole else [])

    def _close(self, one: _Open) -> list[_Object]:
        self._open = [other for other in self._open if other.index != one.index]
        self._closed[one.index] = one.finished()
        if one.so_far.kind == "result":
            return one.events()
        if one.so_far.kind == "call":
            self._calls.add(one.so_far.name)
        return list(dropwhile(lambda event: not _is_delta(event), one.events()))[1:]


def usage(details: Iterable[Mapping[str, Any]]) -> _Object | None:
    """Return what the parts of an answer have used together, as a response says it; None if nobody counted."""
    counted = list(details)
    if not counted:
        return None
    used, made, total = (_sum(counted, name) for name in _COUNTS)
    return {
        "input_tokens": used,
        "input_tokens_details": {"cached_tokens": _sum(counted, _CACHED)},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": _sum(counted, _REASONING)},
        "total_tokens": total or used + made,
    }


def _sum(details: Iterable[Mapping[str, Any]], name: str) -> int:
    return sum(one[name] for one in details if isinstance(one.get(name), int))


def _is_delta(event: _Object) -> bool:
    return str(event["type"]).endswith(".delta")


def _before_delta(events: Iterable[_Object]) -> list[_Object]:
    return list(takewhile(lambda event: not _is_delta(event), events))
