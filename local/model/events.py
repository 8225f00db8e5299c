"""The stream of a response: every event with its number and the age at which it happens, worked out at once.

Nothing is logged: the same response always has the same events, so any reader may come at any time,
replay from any number and follow to the end.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeAlias

import orjson

from local.model.behaviour import Status
from local.model.conversation import Item
from local.model.response_object import response_object
from local.model.work import Work

Event: TypeAlias = dict[str, Any]
Timeline: TypeAlias = list[tuple[float, Event]]

WORDS = re.compile(r"\s*\S+|\s+$")


def timeline(work: Work) -> Timeline:
    """Return all events of the response in order, each after the age at which it happens."""
    planned = [
        *_opening(work),
        *_items(work),
        _ending(work, work.behaviour.duration_s, work.behaviour.ending),
    ]
    if (stopped_after_s := work.stopped_after_s) is not None:
        past = [(after_s, event) for after_s, event in planned if after_s <= stopped_after_s]
        planned = [*past, _ending(work, stopped_after_s, Status.CANCELLED)]
    return [(after_s, event | {"sequence_number": n}) for n, (after_s, event) in enumerate(planned)]


def _opening(work: Work) -> Timeline:
    queued = response_object(work, Status.QUEUED)
    running = response_object(work, Status.IN_PROGRESS)
    if not work.background:
        return [(0.0, _event("created", running)), (0.0, _event("in_progress", running))]
    return [
        (0.0, _event("created", queued)),
        (0.0, _event("queued", queued)),
        (work.behaviour.queued_s, _event("in_progress", running)),
    ]


def _items(work: Work) -> Timeline:
    events = [event for index, item in enumerate(work.output) for event in _item_events(index, item)]
    begin_s, duration_s = work.behaviour.queued_s, work.behaviour.duration_s
    step_s = (duration_s - begin_s) / (len(events) + 1)
    return [(begin_s + n * step_s, event) for n, event in enumerate(events, 1)]


def _ending(work: Work, after_s: float, status: Status) -> tuple[float, Event]:
    # The contract has no event for a cancelled stream: it ends as a failed one whose response is cancelled.
    kind = Status.FAILED if status is Status.CANCELLED else status
    return after_s, _event(kind, response_object(work, status))


def _event(kind: str, response: dict[str, Any]) -> Event:
    return {"type": f"response.{kind}", "response": response}


def _item_events(index: int, item: Item) -> Iterator[Event]:
    is_call = item["type"] == "function_call"
    empty: Event = {"arguments": ""} if is_call else {"content": []}
    inside = _call_events if is_call else _text_events
    yield {
        "type": "response.output_item.added",
        "output_index": index,
        "item": item | empty | {"status": "in_progress"},
    }
    yield from inside({"output_index": index, "item_id": item["id"]}, item)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _call_events(place: Event, item: Item) -> Iterator[Event]:
    for delta in WORDS.findall(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **place, "delta": delta}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **place, **done}


def _text_events(place: Event, item: Item) -> Iterator[Event]:
    part = item["content"][0]
    place = place | {"content_index": 0}
    yield {"type": "response.content_part.added", **place, "part": part | {"text": ""}}
    for delta in WORDS.findall(part["text"]):
        yield {"type": "response.output_text.delta", **place, "delta": delta, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}


async def frames(work: Work, first: int, clock: Callable[[], float]) -> AsyncIterator[bytes]:
    """Yield the frames of all events numbered `first` and above, each when its time has come."""
    number, events = max(first, 0), timeline(work)
    while number < len(events):
        after_s, event = events[number]
        if await _stopped_before(work, after_s, clock):
            events = timeline(work)
            continue
        yield frame(event)
        number += 1


async def _stopped_before(work: Work, after_s: float, clock: Callable[[], float]) -> bool:
    """Wait for that age; True if the work was stopped first."""
    while (wait_s := after_s - work.age_s(clock())) > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(work.stopped.wait(), wait_s)
            return True
    return False


def frame(event: Event) -> bytes:
    """Return the event as one frame of a server-sent stream."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))
