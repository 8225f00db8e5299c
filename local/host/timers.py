"""Timer triggers: running a function whenever its schedule is due."""

import json
import logging
from datetime import UTC, datetime

from azure.functions.meta import Datum

from local.host import bindings
from local.host.app import Timer
from local.host.invocation import Invoker
from local.host.timer_locks import TimerLock
from local.host.waiting import is_set_within

logger = logging.getLogger(__name__)

_LONGEST_SLEEP_S = 30.0


class TimerListener:
    """Runs one timer function on its schedule while this host has the timer's lock.

    Runs never overlap. If ticks pass during a run, one run follows at once, and stands for all of them. The platform's
    monitor stores its state in a blob, this one in memory. So no run is past due after a restart, only after the
    machine has slept through a tick.
    """

    def __init__(self, timer: Timer, invoker: Invoker, lock: TimerLock) -> None:
        self._timer = timer
        self._invoker = invoker
        self._lock = lock
        self._last: datetime | None = None

    async def run(self) -> None:
        """Get the lock, and run until it is lost, again and again, even if the function raises."""
        while True:
            await self._lock.acquire()
            await self._run_while_locked()

    async def _run_while_locked(self) -> None:
        seen = datetime.now(UTC)
        if self._timer.runs_on_startup:
            await self._fire(seen, is_past_due=False)
        while not await self._is_lost_before(due := self._timer.schedule.next_after(seen)):
            seen = max(due, datetime.now(UTC))
            await self._fire(due, is_past_due=self._is_past(self._timer.schedule.next_after(due)))

    async def _is_lost_before(self, due: datetime) -> bool:
        """Sleep until the wall clock reaches `due`. Return whether the lock was lost before.

        The clock may jump, so no single sleep is long.
        """
        while (left_s := (due - datetime.now(UTC)).total_seconds()) > 0:
            if await is_set_within(self._lock.lost, min(left_s, _LONGEST_SLEEP_S)):
                return True
        return self._lock.lost.is_set()

    def _is_past(self, moment: datetime) -> bool:
        return self._timer.is_monitored and datetime.now(UTC) >= moment

    async def _fire(self, due: datetime, *, is_past_due: bool) -> None:
        function = self._timer.function
        datum = Datum(json.dumps(self._report(due, is_past_due=is_past_due)), "json")
        try:
            value = bindings.decode(function.trigger, function.types[function.trigger.name], datum, {})
            await self._invoker.invoke(function, value)
        except Exception:
            logger.exception("function.failed name=%s", function.name)
        self._last = due

    def _report(self, due: datetime, *, is_past_due: bool) -> dict[str, object]:
        """Return what the platform passes to a timer function."""
        return {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": self._status(due) if self._timer.is_monitored else None,
            "IsPastDue": is_past_due,
        }

    def _status(self, due: datetime) -> dict[str, str]:
        last = self._last or datetime.min.replace(tzinfo=UTC)
        following = self._timer.schedule.next_after(due)
        return {"Last": last.isoformat(), "Next": following.isoformat(), "LastUpdated": last.isoformat()}
