"""What responses in lines wait for now, for all that show it. A gate is read at most once a second by a process."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from shared.core.entries import Entry
from shared.core.errors import StoreError, UnreadableRow
from shared.core.gates.state import GateState, Place
from shared.core.gates.waits import at_present
from shared.core.records import Record
from shared.gates.gates import Gates
from shared.upstreams.routes import Upstreams

T = TypeVar("T", Record, Entry)


async def as_now(gates: Gates, upstreams: Upstreams, found: Sequence[T], now_ms: int) -> list[T]:
    """Return responses with what they wait for at a time, in unix milliseconds. `found` are they as stored.

    One whose gate cannot be read keeps what is stored. Nothing is read for one that is in no line.
    """
    names = sorted({one.wait.gate for one in found if _is_in_line(one)})
    seen = dict(zip(names, await asyncio.gather(*(_seen(gates, upstreams, name) for name in names)), strict=True))
    return [_shown(one, seen[one.wait.gate], now_ms) if _is_in_line(one) else one for one in found]


async def one_as_now(gates: Gates, upstreams: Upstreams, one: T, now_ms: int) -> T:
    """Return one response as `as_now` does."""
    return (await as_now(gates, upstreams, [one], now_ms))[0]


def _is_in_line(one: Record | Entry) -> bool:
    return bool(one.wait.gate and one.wait.reason) and not one.status.is_terminal  # older versions keep the gate alone


async def _seen(gates: Gates, upstreams: Upstreams, name: str) -> GateState | None:
    """Return a gate, or None if it has no row or cannot be read. A round logs the latter once a minute."""
    try:
        return await gates.seen(upstreams.gate_named(name))
    except (StoreError, UnreadableRow):
        return None


def _shown(one: T, state: GateState | None, now_ms: int) -> T:
    place = Place(one.id, one.caller, one.created_ms)
    return replace(one, wait=at_present(one.wait, place, state, now_ms))
