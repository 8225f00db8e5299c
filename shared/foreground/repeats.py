"""Repeats: an SDK that gives up on a foreground call sends it again, and the second POST joins the work of the first.

One row per caller and body says which work such a POST would make, and which works have lost their client. It stands in
the shard of its hash. Every write of it has a condition, so whatever the order of the steps of a try and its repeats,
they are one work. Two first tries that are made on purpose are two works: what nobody has left, no first try joins. A
row that a repeat has made or renewed waits for the first try, which is late. That one joins the row's own work, as
a repeat does.

    1   a work without a client, or for a repeat or a late first try the row's own, is at work: join it
    2   such a work ended well less than 2 minutes ago: answer with that
    3   such a work is not accepted yet, and the row is young: go on under its id, so that only one insert wins
    4   otherwise: new work
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from shared.core import keys
from shared.core.alarms import Alarm, Kind
from shared.core.errors import Conflict
from shared.core.records import Record
from shared.core.states import Status
from shared.foreground.clients import Client
from shared.runtime.ports import Ports

ANSWERED_MS = 120_000  # how long after a good end a repeat is still answered with it
YOUNG_MS = 60_000  # how long after a row was written its work may not be accepted yet
SPARE_MS = 3_600_000  # how long after the deadline of its first work a row is kept
MOST_LEFT = 16  # works without a client in one row, of which the newest are kept
# A client for .NET repeats without saying so, at the moment it gives up. So the first POST may not be known to be left.
LOOK_AGAIN_S = 0.25
LOOKS = 8
_TRIES = 10
_GOOD = (Status.COMPLETED, Status.INCOMPLETE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a POST goes on: the id of its work, and the record of that if the POST joins it."""

    id: str
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    """The row: the id of its own work, the works that their clients have left, and when it was written, in unix ms.

    `awaits_first`: a repeat has made or renewed it, and no first try has come since.
    """

    id: str
    left: tuple[str, ...]
    since_ms: int
    awaits_first: bool = False
    etag: str = ""

    def properties(self, kept_ms: int) -> dict[str, str]:
        """Return its columns. `retention` keeps it until `until`."""
        left, until_ms = " ".join(self.left[-MOST_LEFT:]), self.since_ms + kept_ms
        awaits = "first" if self.awaits_first else ""  # also if empty, because a write keeps columns that it lacks
        columns = {"response": self.id, "left": left, "awaits": awaits, "since": str(self.since_ms)}
        return {**columns, keys.UNTIL: str(until_ms)}


class _Finding(Enum):
    """What a POST may do with a work of the row."""

    JOINS = auto()
    GOES_ON = auto()  # under its id, because it is not accepted yet
    WAITS = auto()  # it may yet be left
    NOTHING = auto()


class Repeats:
    """The row of one caller and one body. `owner` is an id derived from them, and `mine` that of a new work."""

    def __init__(self, ports: Ports, owner: str, mine: str, client: Client) -> None:
        self._ports = ports
        self._owner = owner
        self._key = keys.repeats_key(owner)
        self._mine = mine
        self._client = client
        self._is_repeat = bool(client.retry_count)

    async def place(self, *, inserts: bool) -> Place:
        """Return where the POST goes on.

        `inserts` is whether it writes a row if there is none, so that its own repeats find its work.
        """
        if inserts and await self._insert(_Row(self._mine, (), self._now_ms(), awaits_first=self._is_repeat)):
            return Place(self._mine)
        looks = LOOKS if self._client.bounds_body else 0
        for _ in range(_TRIES + LOOKS):
            row = await self._read()
            if row is None:
                break
            try:
                place = await self._place_left(row) or await self._place_by_own(row, may_wait=looks > 0)
            except Conflict:
                continue  # another POST was first
            if place:
                return place
            looks -= 1
            await self._ports.clock.sleep(LOOK_AGAIN_S)
        return Place(self._mine)

    async def leave(self, response_id: str) -> None:
        """Note that the client of a work has left before the answer was out."""
        for _ in range(_TRIES):
            row = await self._read()
            if row is None:
                if await self._insert(_Row(response_id, (response_id,), self._now_ms())):
                    return
                continue
            try:
                await self._write(row, left=(*(one for one in row.left if one != response_id), response_id))
            except Conflict:
                continue
            return

    async def take(self, response_id: str) -> bool:
        """Take a work out of those that were left. Return whether it was there."""
        for _ in range(_TRIES):
            row = await self._read()
            if row is None or response_id not in row.left:
                return False
            try:
                await self._take(row, response_id)
            except Conflict:
                continue
            return True
        return False

    # Steps

    async def _place_left(self, row: _Row) -> Place | None:
        """Return the place of the POST in a work that its client has left, or that awaits its first try, or None.

        Raises Conflict if the row has changed.
        """
        for response_id in reversed(row.left):
            if place := await self._place_in(row, response_id):
                await self._take(row, response_id)
                return place
        if row.awaits_first and not self._is_repeat and (place := await self._place_in(row, row.id)):
            await self._write(replace(row, awaits_first=False), left=row.left)
            return place
        return None

    async def _place_by_own(self, row: _Row, *, may_wait: bool) -> Place | None:
        """Return the place that the row's own work gives the POST, or None if it is to look again."""
        record = await self._ports.store.read(row.id)
        match self._of_own(row, record):
            case _Finding.JOINS:
                return Place(row.id, record)
            case _Finding.GOES_ON:
                return Place(row.id)
            case _Finding.WAITS if may_wait:
                return None
        return await self._new(row, record)

    async def _place_in(self, row: _Row, response_id: str) -> Place | None:
        """Return the place in a work that its client has left, or that awaits its first try, or None."""
        record = await self._ports.store.read(response_id)
        if record is None:
            return Place(response_id) if self._is_young(row) else None
        return Place(response_id, record) if self._is_joinable(record) else None

    def _of_own(self, row: _Row, record: Record | None) -> _Finding:
        """Return what the POST may do with the row's own work, which nobody has left."""
        if record is None and not self._is_young(row):
            return _Finding.NOTHING
        if record is not None and not self._is_joinable(record):
            return _Finding.NOTHING
        if not self._is_repeat:
            return _Finding.WAITS if record is None or not record.status.is_terminal else _Finding.NOTHING
        return _Finding.GOES_ON if record is None else _Finding.JOINS

    async def _new(self, row: _Row, record: Record | None) -> Place:
        """Begin new work. The row names it if the work of `record`, which it named, is over or gone. Raises Conflict.

        A repeat of work that has just ended badly has had its first try. After any other work, that may come late.
        """
        if record.status.is_terminal if record else not self._is_young(row):
            awaits_first = self._is_repeat and not (record and self._is_recent(record))
            named = replace(row, id=self._mine, since_ms=self._now_ms(), awaits_first=awaits_first)
            await self._write(named, left=row.left)
        return Place(self._mine)

    def _is_young(self, row: _Row) -> bool:
        return self._now_ms() - row.since_ms < YOUNG_MS

    def _is_joinable(self, record: Record) -> bool:
        if record.deleted:
            return False
        return not record.status.is_terminal or (record.status in _GOOD and self._is_recent(record))

    def _is_recent(self, record: Record) -> bool:
        return self._now_ms() - record.ended_ms < ANSWERED_MS

    # Storage

    async def _read(self) -> _Row | None:
        row = await self._ports.store.find(self._owner, self._key)
        if row is None:
            return None
        left = tuple(row["left"].split())
        return _Row(row["response"], left, int(row["since"]), awaits_first=row.get("awaits") == "first", etag=row.etag)

    async def _insert(self, row: _Row) -> bool:
        alarm = Alarm(row.since_ms + self._kept_ms(), Kind.PURGE, self._owner, keys.REPEATS_TARGET)
        return await self._ports.store.insert(self._owner, self._key, row.properties(self._kept_ms()), alarm)

    async def _write(self, row: _Row, *, left: tuple[str, ...]) -> None:
        await self._ports.store.replace(
            self._owner, self._key, replace(row, left=left).properties(self._kept_ms()), row.etag
        )

    async def _take(self, row: _Row, response_id: str) -> None:
        await self._write(row, left=tuple(one for one in row.left if one != response_id))

    def _now_ms(self) -> int:
        return self._ports.clock.now_ms()

    def _kept_ms(self) -> int:
        return self._ports.config.limits.deadline_ms + SPARE_MS
