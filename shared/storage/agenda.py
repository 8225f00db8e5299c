"""The agenda of a shard: what is due, and when it goes on, read with one query while little is due."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from shared.core import keys
from shared.core.alarms import Alarm, alarm_of
from shared.core.errors import UnreadableRow
from shared.storage import codec
from shared.storage.table_client import Entity

FIRST_PAGE = 16  # rows of the first query: the due alarms and the one after them. More are due only under load.
_GROWTH = 4  # each further query reads this many times as many rows
_LARGEST_PAGE = 1_000
_QUERIES = 20
_REMEMBERED = 4_000

ReadRows = Callable[[str, str, int], Awaitable[list[Entity]]]
"""Takes the first row key, a row key above the last one, and a number of rows. Returns the rows of one shard."""


@dataclass(frozen=True, slots=True)
class Agenda:
    """The alarms of a shard at one time, which is in unix milliseconds."""

    due: list[Alarm]  # those that are due, earliest first
    bad: list[str]  # the keys of rows that are due and cannot be read as alarms. They are stepped over.
    next_ms: int | None  # when the first alarm behind `due` is due, or None if there is none


async def read_agenda(read_rows: ReadRows, now_ms: int, limit: int) -> Agenda:
    """Return what is due at `now_ms`, at most `limit` alarms, and when the alarm behind them is due.

    The query has no upper bound at `now_ms`, so its last row is usually the alarm behind the due ones. If it is not,
    further queries read on. Raises what `read_rows` raises.
    """
    due, bad = list[Alarm](), list[str]()
    first, size, last_key = keys.ALARMS, FIRST_PAGE, keys.alarms_until(now_ms)
    for _ in range(_QUERIES):
        rows = await read_rows(first, keys.ALARMS + keys.END, size)
        for row in rows:
            key: str = row["RowKey"]
            if key > last_key or len(due) == limit:
                if (next_ms := _due_ms(key)) is not None:
                    return Agenda(due, bad, next_ms)
                continue
            try:
                due.append(codec.decode_alarm(key, row.get("facts", ""), row.etag))
            except UnreadableRow:
                bad.append(key)
        if len(rows) < size:
            break
        first, size = rows[-1]["RowKey"] + keys.AFTER, min(size * _GROWTH, _LARGEST_PAGE)
    return Agenda(due, bad, None)


async def first_due(read_rows: ReadRows) -> int | None:
    """Return when the first alarm of a shard is due, in unix milliseconds, or None. Rows without a time are skipped.

    It reads one row if that is an alarm. Of a newer version there may be many, so further queries read more at once.
    Raises what `read_rows` raises.
    """
    first, size = keys.ALARMS, 1
    for _ in range(_QUERIES):
        rows = await read_rows(first, keys.ALARMS + keys.END, size)
        due = (due_ms for row in rows if (due_ms := _due_ms(row["RowKey"])) is not None)
        if (first_ms := next(due, None)) is not None or len(rows) < size:
            return first_ms
        first, size = rows[-1]["RowKey"] + keys.AFTER, min(size * _GROWTH, _LARGEST_PAGE)
    return None


def _due_ms(key: str) -> int | None:
    try:
        return alarm_of(key).due_ms
    except ValueError:
        return None


class RemovedAlarms:
    """The keys of the last 4,000 alarms that this process has removed. A sweep asks for no wake-up for them."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}

    def add(self, row_keys: Iterable[str]) -> None:
        """Note that these rows are removed. Rows that are not alarms are ignored."""
        self._keys.update(dict.fromkeys(key for key in row_keys if key.startswith(keys.ALARMS)))
        while len(self._keys) > _REMEMBERED:
            del self._keys[next(iter(self._keys))]

    def move(self, moves: Iterable[tuple[Alarm, Alarm]]) -> None:
        """Note that alarms have moved: the first of each pair is removed, and the second is there."""
        for old, new in moves:
            self._keys.pop(new.key, None)
            self.add([old.key])

    def __contains__(self, key: str) -> bool:
        return key in self._keys
