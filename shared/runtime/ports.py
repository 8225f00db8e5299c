"""Everything outside, one seam each: what the flows of the engine are given to act with."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from shared.contract.callers import Callers
from shared.core.outcomes import Answer
from shared.runtime.config import Limits, Pace, Rules
from shared.senders.circuit_breaker import Breakers
from shared.storage.request_queue import Queues
from shared.storage.store import Store
from shared.storage.wakeups import Nudges
from shared.upstreams.protocol import Step, Upstreams


class Sender(Protocol):
    """What takes a terminal event to one kind of target; never raises for what the target does."""

    def slot(self, address: str, *, first: bool, patience_s: float) -> AbstractAsyncContextManager[None]:
        """Return an asynchronous context that holds the right to send to the address, or raises Busy."""

    async def vet(self, address: str) -> None:
        """Raise CallbackUrlRefused if it is known already that nothing can be sent to the address."""

    async def post(
        self, address: str, headers: Mapping[str, str], body: bytes, *, hosts: Collection[str] = ()
    ) -> Answer:
        """Make one attempt, to one of the caller's hosts where he names any."""

    async def aclose(self) -> None:
        """Close the connections."""


@dataclass(frozen=True)
class World:
    """The seams. `now_ms` is the clock, `dice` gives numbers from 0 to 1, `sleep` waits that many seconds."""

    store: Store
    nudges: Nudges
    queues: Queues
    upstreams: Upstreams
    senders: Mapping[str, Sender]  # by delivery target
    callers: Callers
    now_ms: Callable[[], int]
    dice: Callable[[], float]
    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    rules: Rules = field(default_factory=Rules)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    polls: "dict[str, asyncio.Task[Step]]" = field(default_factory=dict)  # under way or fresh, by response
    runs: "set[asyncio.Task[None]]" = field(default_factory=set)  # held by this process for a live reader
    breakers: Breakers = field(default_factory=Breakers)  # of the hosts that callbacks go to
    deliveries: "set[asyncio.Task[None]]" = field(default_factory=set)  # begun before their messages come
    unrecorded: set[tuple[str, str]] = field(default_factory=set)  # deliveries, id and target, attempted but not noted
