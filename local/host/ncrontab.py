"""Timer schedules in UTC: NCRONTAB with six fields, or with five fields and second 0."""

import re
from datetime import datetime, timedelta

from croniter import CroniterError, croniter

from local.host.errors import LoadError

# NCrontab has no L, #, ? or @names, but croniter accepts them.
_FIELD = re.compile(r"(?:[\d*,/-]|[A-Za-z]{3,})+")


class Schedule:
    """The schedule of a timer function."""

    def __init__(self, expression: str, *, now: datetime) -> None:
        """Raise LoadError for an expression that is not NCRONTAB or is never due."""
        fields = expression.split()
        if len(fields) not in {5, 6} or not all(map(_FIELD.fullmatch, fields)):
            raise LoadError(f"the schedule {expression!r} is not NCRONTAB with five or six fields")
        self._expression = " ".join(["0", *fields][-6:])
        try:
            self.next_after(now)
        except CroniterError as error:
            raise LoadError(f"the schedule {expression!r} is not NCRONTAB: {error}") from None

    def next_after(self, moment: datetime) -> datetime:
        """Return the first time after `moment` at which the schedule is due."""
        # As in NCrontab, and unlike cron, a day must match both day fields.
        times = croniter(self._expression, moment, second_at_beginning=True, day_or=False)
        due: datetime = times.get_next(datetime)
        return due

    def is_monitored(self, moment: datetime) -> bool:
        """Return whether the platform stores when it was due. It does not for schedules of more than once a minute."""
        first = self.next_after(moment)
        return self.next_after(first) - first >= timedelta(minutes=1)
