"""Everything outside, one seam each: what the flows of the engine are given to act with."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from shared import changes
from shared.alarms import Alarm
from shared.breakers import Breakers
from shared.callers import Callers
from shared.errors import Conflict
from shared.ids import shard_of
from shared.nudges import Nudges
from shared.queues import Queues
from shared.records import Record, Write
from shared.redelivery import Answer
from shared.schedule import POLL_MIN_MS
from shared.store import Store
from shared.upstreams import Step, Upstreams

_DECISIONS = 10
TOLD_POLL_MS = 60_000


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


@dataclass(frozen=True, slots=True)
class Limits:
    """What the deployment decides. Milliseconds."""

    deadline_ms: int = 4 * 3_600_000  # when an unfinished response is given up
    retention_ms: int = 30 * 86_400_000  # how long a stored one is kept after its end
    honours_keys: bool = False  # whether the upstream starts once per Idempotency-Key
    is_told: bool = False  # whether the upstream tells of its ends by webhooks: then polls are only the safety net
    start_wait_s: float = 20.0  # how long a repeated request waits for its first

    @property
    def poll_min_ms(self) -> int:
        """The least wait between two polls of a response."""
        return TOLD_POLL_MS if self.is_told else POLL_MIN_MS


@dataclass(frozen=True, slots=True)
class Rules:
    """Where events may be sent, as the deployment decides."""

    reply_queues: tuple[str, ...] = ()  # patterns of the queue names that callers may give
    own_hosts: frozenset[str] = frozenset()  # never called back
    requests_caller: str = ""  # on whose behalf queued requests are made
    upstream_secrets: tuple[str, ...] = field(default=(), repr=False)  # that sign the upstream's webhooks
    allow_loopback: bool = False  # for local use only


@dataclass(frozen=True, slots=True)
class Pace:
    """How often things are done while a stream flows. Seconds."""

    flush_s: float = 0.55  # the event log is written at most so often: with renewals below 2 writes a second
    renew_s: float = 10.0  # a lease is renewed so often
    watch_s: float = 1.0  # a holder looks at its record so often, unless it has just written it
    tail_s: float = 0.15  # a reader looks for new events so often, up to `tail_max_s` where there are none for long
    tail_max_s: float = 1.0
    nudge_s: float = 5.0  # a reader who has waited so long asks for a look at the shard: the holder may be dead
    heartbeat_s: float = 15.0  # a stream is not silent for longer
    stream_s: float = 1200.0  # one answer streams at most so long; the client resumes
    hold_s: float = 1200.0  # a run whose upstream replays is held at most so long at a time
    patience_s: float = 60.0  # how long a holder tries to reach the upstream before it gives the run up for a while


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
    limits: Limits = Limits()
    pace: Pace = Pace()
    rules: Rules = Rules()
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    polls: "dict[str, asyncio.Task[Step]]" = field(default_factory=dict)  # under way or fresh, by response
    runs: "set[asyncio.Task[None]]" = field(default_factory=set)  # held by this process for a live reader
    breakers: Breakers = field(default_factory=Breakers)  # of the hosts that callbacks go to
    deliveries: "set[asyncio.Task[None]]" = field(default_factory=set)  # begun before their messages come
    unrecorded: set[tuple[str, str]] = field(default_factory=set)  # deliveries, id and target, attempted but not noted


Plan = Callable[[Record], Write | None]


async def decide(
    world: World, record: Record | None, response_id: str, plan: Plan, held: Alarm | None = None
) -> Record | None:
    """Write what the plan says of the record, read again and planned again for as long as others come first.

    The alarm that is held goes in the same transaction, or alone where the plan has nothing to write: it is spent.
    Returns the record as it then is, None if there is none. Raises Conflict if another row that was to go is gone
    while the record is unchanged, or if others never end.
    """
    for _ in range(_DECISIONS):
        record = record or await world.store.read(response_id)
        write = plan(record) if record else None
        if write is None:
            if held:
                await world.store.remove(held)
            return record
        try:
            return await commit(
                world, record, replace(write, alarms_out=(*write.alarms_out, held.key)) if held else write
            )
        except Conflict as conflict:
            if conflict.gone and not (held and conflict.gone == held.key):
                raise
            held = None if conflict.gone else held  # whoever took it over finds the record as we leave it
            record = None
    raise Conflict


async def commit(world: World, before: Record | None, write: Write) -> Record:
    """Carry out a write, tell of it, and ask for what it wakes; raises as `Store.commit` does.

    `before` is the record it was decided from, None for a new one.
    """
    record = await world.store.commit(write)
    changes.told(before, write, world.upstreams.of(record.model).operation)
    for alarm in write.delivers:
        await world.nudges.deliver(alarm.key)
    for alarm in write.wakes:
        await world.nudges.sweep(shard_of(alarm.id), alarm.due_ms)
    if write.grants:
        await world.nudges.run(record.id, record.epoch)
    return record


async def rearm(world: World, alarm: Alarm, due_ms: int, **changes: Any) -> None:
    """Set an alarm that is held to another time, its attempt counted as ended well, and nudge for it."""
    now_ms = world.now_ms()
    if now_ms < alarm.deadline_ms:  # the deadline is not slept through; past it the back-off goes on
        due_ms = min(due_ms, max(alarm.deadline_ms, now_ms + 1_000))
    following = alarm.at(due_ms, **{"attempt": 0, **changes})
    if await world.store.move(shard_of(alarm.id), [(alarm, following)]):
        await world.nudges.sweep(shard_of(alarm.id), following.due_ms)
