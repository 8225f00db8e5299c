"""The delivery log: every attempt that was claimed is shown, also one whose outcome is not known."""

from dataclasses import replace
from typing import Any

from shared.core.alarms import Alarm, Kind
from shared.core.outcomes import AttemptEntry, SendError
from shared.core.records import Delivery, Target
from shared.core.states import DeliveryState
from shared.deliveries.delivery_log import log_of

NOW_MS = 1_800_000_000_000
LEASE = Alarm(NOW_MS + 20_000, Kind.DELIVER, "resp_0123456789abcdef0123456789abcdef", "c")
OPEN = Delivery(Target.CALLBACK, attempt=2)
UNKNOWN = {"at": None, "status": None, "error": "unknown", "duration_ms": None, "next_at": None}


def made(number: int, schedule: int = 1, status: int | None = 500, error: str | None = None) -> AttemptEntry:
    """Return the row of an attempt."""
    return AttemptEntry(number, NOW_MS / 1000, status, error, 7, None, schedule)


def numbers(log: list[dict[str, Any]]) -> list[tuple[int, int, str | None]]:
    """Return schedule, number and error of each attempt of a log."""
    return [(one["schedule"], one["attempt"], one["error"]) for one in log]


def test_attempts_are_in_the_order_of_their_numbers() -> None:
    """Schedules come one after the other, whatever the order of the rows."""
    log = log_of(replace(OPEN, attempt=4, attempts_before=2, schedule=2), [made(2, 2), made(1), made(1, 2), made(2)], 0)
    assert numbers(log) == [(1, 1, None), (1, 2, None), (2, 1, None), (2, 2, None)]


def test_a_number_without_a_row_is_unknown() -> None:
    """Whoever claimed it has crashed. It is shown with its number, and nothing else is known of it."""
    log = log_of(OPEN, [made(3)], NOW_MS)
    assert numbers(log) == [(1, 1, "unknown"), (1, 2, "unknown"), (1, 3, None)]
    assert log[0] == {"attempt": 1, "schedule": 1, **UNKNOWN}


def test_a_first_attempt_is_unknown_only_when_its_lease_is_past() -> None:
    """Until then it may be under way."""
    sending = Delivery(Target.CALLBACK, attempt=1, sending=True, alarm_key=LEASE.key)
    assert log_of(sending, [], LEASE.due_ms - 1) == []
    assert numbers(log_of(sending, [], LEASE.due_ms)) == [(1, 1, "unknown")]


def test_rows_of_an_older_version_count_over_all_schedules() -> None:
    """They have no schedule, so they are shown in the first one, and nothing between them is missing."""
    old = Delivery(Target.CALLBACK, DeliveryState.DELIVERED, attempt=5, attempts_before=3)
    assert [one["attempt"] for one in log_of(old, [made(n) for n in range(1, 6)], NOW_MS)] == [1, 2, 3, 4, 5]


def test_callers_do_not_learn_which_names_exist() -> None:
    """A name without an address and a refused address are shown with the same error."""
    rows = [made(n, status=None, error=error) for n, error in enumerate((SendError.DNS, SendError.ADDRESS_REFUSED), 1)]
    assert {one["error"] for one in log_of(OPEN, rows, NOW_MS)} == {"no_public_address"}
