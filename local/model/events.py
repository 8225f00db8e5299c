"""The stream of a response: every event with its number and the age at which it happens.

Nothing is logged. The same response always has the same events, and each reader computes them while it reads. So a
reader can start at any time, replay from any number and follow to the end.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import chain, count, islice, repeat, takewhile
from typing import Any, TypeAlias

import orjson

from local.model.behaviour import Status, Writing
from local.model.conversation import Item
from local.model.response_object import response_object
from local.model.work import Work

Event: TypeAlias = dict[str, Any]
Timeline: TypeAlias = Iterator[tuple[float, Event]]

WORD = re.compile(r"\S+\s*|\s+")


def timeline(work: Work) -> Timeline:
    """Yield all events of the response in order, each with the age in seconds at which it happens."""
    planned = _with_keepalives(_planned(work), work.keepalive_s)
    if (stopped_after_s := work.stopped_after_s) is not None:
        past = takewhile(lambda moment: moment[0] <= stopped_after_s, planned)
        planned = chain(past, [_ending(work, stopped_after_s, Status.CANCELLED)])
    return ((after_s, event | {"sequence_number": n}) for n, (after_s, event) in enumerate(planned))


def _planned(work: Work) -> Timeline:
    yield from _opening(work)
    yield from zip(_ages(work), _output_events(work.output), strict=False)
    yield _ending(work, work.behaviour.duration_s, work.behaviour.ending)


def _with_keepalives(planned: Timeline, every_s: float | None) -> Timeline:
    """Fill each silence with `keepalive` events, which carry only a number, as OpenAI's do."""
    last_s = 0.0
    for after_s, event in planned:
        while every_s is not None and last_s + every_s < after_s:
            last_s += every_s
            yield last_s, {"type": "keepalive"}
        yield after_s, event
        last_s = after_s


def _opening(work: Work) -> Timeline:
    queued = response_object(work, Status.QUEUED)
    running = response_object(work, Status.IN_PROGRESS)
    if work.background:
        yield 0.0, _event("created", queued)
        yield 0.0, _event("queued", queued)
        yield work.behaviour.queued_s, _event("in_progress", running)
    else:
        yield 0.0, _event("created", running)
        yield 0.0, _event("in_progress", running)


def _ages(work: Work) -> Iterator[float]:
    """Return an endless iterator over the ages in seconds at which the output events happen."""
    begin_s, duration_s = work.behaviour.writes_from_s, work.behaviour.duration_s
    if work.behaviour.writing is Writing.CLOCK:
        # The item and its part are added first. Then there is one delta per tick.
        return (min(max(n, 0) / work.behaviour.ticks_per_s, duration_s) for n in count(-1))
    if begin_s == duration_s:
        return repeat(duration_s)
    step_s = (duration_s - begin_s) / (sum(1 for _ in _output_events(work.output)) + 1)
    return (begin_s + n * step_s for n in count(1))


def _ending(work: Work, after_s: float, status: Status) -> tuple[float, Event]:
    # The contract has no event for a cancelled stream. It ends with `response.failed` and a cancelled response.
    kind = Status.FAILED if status is Status.CANCELLED else status
    return after_s, _event(kind, response_object(work, status))


def _event(kind: str, response: dict[str, Any]) -> Event:
    return {"type": f"response.{kind}", "response": response}


def _output_events(output: Iterable[Item]) -> Iterator[Event]:
    return (event for index, item in enumerate(output) for event in _item_events(index, item))


def _item_events(index: int, item: Item) -> Iterator[Event]:
    empty, inside = INSIDE[item["type"]]
    yield {"type": "response.output_item.added", "output_index": index, "item": item | empty}
    yield from inside({"output_index": index, "item_id": item["id"]}, item)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _deltas(text: str) -> Iterator[str]:
    return (word[0] for word in WORD.finditer(text))


def _call_events(place: Event, item: Item) -> Iterator[Event]:
    for delta in _deltas(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **place, "delta": delta}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **place, **done}


def _text_events(place: Event, item: Item) -> Iterator[Event]:
    part = item["content"][0]
    place = place | {"content_index": 0}
    yield {"type": "response.content_part.added", **place, "part": part | {"text": ""}}
    for delta in _deltas(part["text"]):
        yield {"type": "response.output_text.delta", **place, "delta": delta, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}


def _summary_events(place: Event, item: Item) -> Iterator[Event]:
    part = item["summary"][0]
    place = place | {"summary_index": 0}
    yield {"type": "response.reasoning_summary_part.added", **place, "part": part | {"text": ""}}
    for delta in _deltas(part["text"]):
        yield {"type": "response.reasoning_summary_text.delta", **place, "delta": delta}
    yield {"type": "response.reasoning_summary_text.done", **place, "text": part["text"]}
    yield {"type": "response.reasoning_summary_part.done", **place, "part": part}


# For each type of item: the fields that are empty when it is added, and the events that fill them.
INSIDE: dict[str, tuple[Event, Callable[[Event, Item], Iterator[Event]]]] = {
    "function_call": ({"arguments": "", "status": "in_progress"}, _call_events),
    "message": ({"content": [], "status": "in_progress"}, _text_events),
    "reasoning": ({"summary": []}, _summary_events),
}


async def live(work: Work, first: int, clock: Callable[[], float]) -> AsyncIterator[Event]:
    """Yield all events from number `first` on, each when it is due."""
    number = max(first, 0)
    upcoming = islice(timeline(work), number, None)
    while (moment := next(upcoming, None)) is not None:
        after_s, event = moment
        if await _stopped_before(work, after_s, clock):
            upcoming = islice(timeline(work), number, None)
            continue
        yield event
        number += 1


async def _stopped_before(work: Work, after_s: float, clock: Callable[[], float]) -> bool:
    """Wait until the work has that age, and let other tasks run first. Return whether it was stopped before."""
    await asyncio.sleep(0)
    while not work.stopped.is_set() and (wait_s := after_s - work.age_s(clock())) > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(work.stopped.wait(), wait_s)
    return work.stopped_after_s is not None and after_s > work.stopped_after_s


def frame(event: Event) -> bytes:
    """Return the event as one frame of a server-sent event stream."""
    return _framed(event, orjson.dumps(event))


def broken_frame(event: Event) -> bytes:
    """Return a complete frame with only the first half of the event's JSON."""
    data = orjson.dumps(event)
    return _framed(event, data[: len(data) // 2])


def _framed(event: Event, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), data)
