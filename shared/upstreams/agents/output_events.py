"""The output builder: turns the deltas of an agent's answer into stream events, and into the output so far. Pure.

An item emits `added`, deltas and `done`. Deltas carry only new text, `done` carries all of it. The first delta opens an
item. A delta that cannot belong to the open item closes it. Several tool calls may be open at once, because models
write them in parallel. All other items follow one another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import dropwhile, takewhile
from typing import Any, TypeAlias

from shared.contract.synthesized_events import item_events, output_events

_Object: TypeAlias = dict[str, Any]

_COUNTS = ("input_token_count", "output_token_count", "total_token_count")
_CACHED, _REASONING = "cache_read_input_token_count", "reasoning_output_token_count"


class DeltaKind(StrEnum):
    """What a delta is a part of."""

    TEXT = "text"
    REFUSAL = "refusal"
    REASONING = "reasoning"
    CALL = "call"  # the arguments of a tool call
    RESULT = "result"  # the result of a tool call


_IDS = {
    DeltaKind.TEXT: "msg",
    DeltaKind.REFUSAL: "msg",
    DeltaKind.REASONING: "rs",
    DeltaKind.CALL: "fc",
    DeltaKind.RESULT: "fco",
}


@dataclass(frozen=True, slots=True)
class Delta:
    """A part of one item of the output. All deltas of an item have the same `name`, its call's or message's id.

    `tool` is the name of the function that is called. `is_whole`: the text replaces the earlier text of the item, and
    ends the item.
    """

    kind: DeltaKind
    text: str = field(default="", repr=False)
    name: str = ""
    tool: str = ""
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class _OpenItem:
    """An unfinished item: its index in the output, its id, and all its deltas merged into one."""

    index: int
    id: str
    so_far: Delta

    def finished(self) -> _Object:
        """Return the item as if it ended here."""
        delta = self.so_far
        match delta.kind:
            case DeltaKind.CALL:
                named = {"call_id": delta.name, "name": delta.tool, "arguments": delta.text}
                return {"id": self.id, "type": "function_call", "status": "completed", **named}
            case DeltaKind.RESULT:
                named = {"call_id": delta.name, "output": delta.text}
                return {"id": self.id, "type": "function_call_output", "status": "completed", **named}
            case DeltaKind.REASONING:
                summary = [{"type": "summary_text", "text": delta.text}]
                return {"id": self.id, "type": "reasoning", "summary": summary}
        part = {"type": "output_text", "text": delta.text, "annotations": [], "logprobs": []}
        if delta.kind is DeltaKind.REFUSAL:
            part = {"type": "refusal", "refusal": delta.text}
        return {"id": self.id, "type": "message", "status": "completed", "role": "assistant", "content": [part]}

    def events(self) -> list[_Object]:
        """Return the events of the item as if it ended here."""
        return list(item_events(self.index, self.finished()))


class OutputBuilder:
    """The output of a response, in the order of its items.

    `suffix` is a part of every item's id and makes the ids unique. `before` are the finished items of another process
    that worked on the response. Events are objects without `sequence_number`.
    """

    def __init__(self, suffix: str, before: Sequence[_Object] = ()) -> None:
        self._suffix = suffix
        self._open: list[_OpenItem] = []
        self._closed: dict[int, _Object] = dict(enumerate(before))
        self._closed_calls = {str(item["call_id"]) for item in before if item["type"] == "function_call"}

    @property
    def output(self) -> list[_Object]:
        """The items so far, unfinished ones as if they ended here."""
        items = self._closed | {one.index: one.finished() for one in self._open}
        return [items[index] for index in sorted(items)]

    def replay(self) -> list[_Object]:
        """Return the events of the items in `before`. Call this before the first `add`."""
        return output_events(list(self._closed.values()))

    def add(self, delta: Delta) -> list[_Object]:
        """Add a delta and return its events."""
        found = self._found(delta)
        if found:
            return self._extend(found, delta)
        if delta.kind is DeltaKind.CALL and delta.name in self._closed_calls:
            return []
        if delta.kind is not DeltaKind.RESULT and not delta.text and not delta.tool:
            return []
        return self._begin(delta)

    def close(self) -> list[_Object]:
        """Finish every unfinished item and return the events."""
        return [event for one in list(self._open) for event in self._close(one)]

    def _found(self, delta: Delta) -> _OpenItem | None:
        """Return the open item that a delta belongs to, or None. Later deltas of a call may have no name."""
        same = [one for one in self._open if one.so_far.kind is delta.kind]
        if delta.kind is DeltaKind.CALL and not delta.name:
            return same[-1] if same else None
        return next((one for one in same if one.so_far.name == delta.name), None)

    def _begin(self, delta: Delta) -> list[_Object]:
        is_call = delta.kind is DeltaKind.CALL
        over = [one for one in self._open if not (is_call and one.so_far.kind is DeltaKind.CALL)]
        events = [event for one in over for event in self._close(one)]
        index = len(self._closed) + len(self._open)
        begun = _OpenItem(index, f"{_IDS[delta.kind]}_{self._suffix}{index:04x}", replace(delta, text=""))
        if delta.kind is DeltaKind.RESULT:
            return events + self._close(replace(begun, so_far=delta))
        self._open.append(begun)
        return events + _before_delta(begun.events()) + self._extend(begun, delta)

    def _extend(self, one: _OpenItem, delta: Delta) -> list[_Object]:
        before = one.so_far.text
        after = delta.text if delta.is_whole else before + delta.text
        new = after[len(before) :] if after.startswith(before) else ""
        longer = replace(one, so_far=replace(one.so_far, text=after))
        self._open[self._open.index(one)] = longer
        events = [event | {"delta": new} for event in one.events() if _is_delta(event)] if new else []
        return events + (self._close(longer) if delta.is_whole else [])

    def _close(self, one: _OpenItem) -> list[_Object]:
        self._open = [other for other in self._open if other.index != one.index]
        self._closed[one.index] = one.finished()
        if one.so_far.kind is DeltaKind.RESULT:
            return one.events()
        if one.so_far.kind is DeltaKind.CALL:
            self._closed_calls.add(one.so_far.name)
        return list(dropwhile(lambda event: not _is_delta(event), one.events()))[1:]


def total_usage(details: Iterable[Mapping[str, Any]]) -> _Object | None:
    """Return the sum of Agent Framework's usage details as the `usage` of a response, or None for no details."""
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
