"""What responses have used: counts by status, tokens and time, summed by the day of the end and the model."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from shared.core.entries import Entry
from shared.core.states import Status


@dataclass(frozen=True, slots=True)
class UsageSums:
    """The sums over responses of one caller and model that ended on one day of UTC, such as `2027-01-31`."""

    caller: str
    day: str
    model: str = ""
    version: int = 0  # of a row: how often it was written
    completed: int = 0
    failed: int = 0
    incomplete: int = 0
    cancelled: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    duration_ms: int = 0  # from acceptance to end

    @property
    def name(self) -> tuple[str, str, str]:
        """What the sums are of."""
        return (self.caller, self.day, self.model)

    def plus(self, other: "UsageSums") -> "UsageSums":
        """Return the sums over both. The version counts on."""
        return replace(
            self,
            version=self.version + 1,
            completed=self.completed + other.completed,
            failed=self.failed + other.failed,
            incomplete=self.incomplete + other.incomplete,
            cancelled=self.cancelled + other.cancelled,
            input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            duration_ms=self.duration_ms + other.duration_ms,
        )


def usage_of(entry: Entry) -> UsageSums:
    """Return what one ended response has used. Two processes set its times, and their clocks may differ."""
    return UsageSums(
        entry.caller,
        day_of(entry.ended_ms),
        entry.model or "",
        completed=int(entry.status is Status.COMPLETED),
        failed=int(entry.status is Status.FAILED),
        incomplete=int(entry.status is Status.INCOMPLETE),
        cancelled=int(entry.status is Status.CANCELLED),
        input_tokens=entry.usage.input_tokens,
        cached_tokens=entry.usage.cached_tokens,
        output_tokens=entry.usage.output_tokens,
        reasoning_tokens=entry.usage.reasoning_tokens,
        duration_ms=max(0, entry.ended_ms - entry.created_ms),
    )


def summed(parts: Iterable[UsageSums]) -> list[UsageSums]:
    """Return the sums by caller, day and model, in that order."""
    totals: dict[tuple[str, str, str], UsageSums] = {}
    for part in parts:
        totals[part.name] = totals[part.name].plus(part) if part.name in totals else part
    return [totals[name] for name in sorted(totals)]


def day_of(time_ms: int) -> str:
    """Return the day of UTC of a time in unix milliseconds, such as `2027-01-31`."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).date().isoformat()
