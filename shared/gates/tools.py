"""What gates act with beside the table, and whom they tell."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from shared.core.gates.state import Gate, Place


@dataclass(frozen=True, slots=True)
class Tools:
    """Time, chance and tasks.

    `now_ms` returns unix milliseconds, `elapsed_s` the seconds of a clock for durations, and `random` a number from 0
    up to 1. `start` starts a task that goes on beside the caller.
    """

    now_ms: Callable[[], int]
    elapsed_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Callable[[], float]
    start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    goes_on: bool = True  # whether the process may work between its invocations


@dataclass(frozen=True, slots=True)
class Listeners:
    """Whom a gate tells what it has committed, and whom it asks about responses.

    `on_granted` gets responses that waited and now have a permit. It must move their `start` alarms, and start those
    whose alarm it could move. A round tells it of a grant again, so the alarm decides. `on_closed` gets the time until
    which a gate is closed, in unix milliseconds. `is_over` returns whether a response needs no permit of a
    gate any longer: its record is terminal or missing, or it passes another gate.
    """

    on_granted: Callable[[Gate, Sequence[Place]], Coroutine[Any, Any, None]]
    on_closed: Callable[[Gate, int], Coroutine[Any, Any, None]]
    is_over: Callable[[Gate, str], Awaitable[bool]]


async def _ignore(_gate: Gate, _what: object) -> None:
    """Do nothing."""


async def _unknown(_gate: Gate, _response_id: str) -> bool:
    return False


NOBODY = Listeners(_ignore, _ignore, _unknown)
