"""Usage: sums over responses, by the caller, the day of the end, and the model."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.entries import Entry
from shared.core.records import Usage
from shared.core.states import Status
from shared.core.usage import UsageSums, day_of, summed, usage_of

ID = "resp_0123456789abcdef0123456789abcdef"
END_MS = 1_800_000_000_000  # 2027-01-15, 08:00
ENTRY = Entry(ID, END_MS - 2_500, "ann", Status.COMPLETED, model="m", ended_ms=END_MS, usage=Usage(10, 4, 20, 15))
ONE = UsageSums(
    "ann",
    "2027-01-15",
    "m",
    completed=1,
    input_tokens=10,
    cached_tokens=4,
    output_tokens=20,
    reasoning_tokens=15,
    duration_ms=2_500,
)
ENDS = [status for status in Status if status.is_terminal]
OTHERS = [ONE, replace(ONE, model="n"), replace(ONE, day="2027-01-14"), replace(ONE, caller="bob")]


def test_a_response_is_counted_on_the_day_of_its_end() -> None:
    """With the time from its acceptance to its end."""
    assert usage_of(ENTRY) == ONE
    assert usage_of(replace(ENTRY, model=None)).model == ""
    assert usage_of(replace(ENTRY, created_ms=END_MS + 5)).duration_ms == 0


@pytest.mark.parametrize("status", ENDS)
def test_each_status_is_counted_apart(status: Status) -> None:
    """Tokens of responses that failed were paid for, too."""
    counted = usage_of(replace(ENTRY, status=status))
    assert [getattr(counted, one) for one in ENDS] == [one is status for one in ENDS]
    assert counted.input_tokens == 10


@given(st.lists(st.sampled_from(OTHERS)))
def test_sums_lose_nothing(parts: list[UsageSums]) -> None:
    """However they are grouped, the tokens and the responses of all are there once."""
    sums = summed(parts)
    assert sum(one.completed for one in sums) == len(parts)
    assert sum(one.output_tokens for one in sums) == 20 * len(parts)
    assert [one.name for one in sums] == sorted({part.name for part in parts})


@pytest.mark.parametrize(
    ("time_ms", "day"),
    [(0, "1970-01-01"), (86_399_999, "1970-01-01"), (86_400_000, "1970-01-02"), (END_MS, "2027-01-15")],
)
def test_a_day_is_one_of_utc(time_ms: int, day: str) -> None:
    """It begins at midnight."""
    assert day_of(time_ms) == day
