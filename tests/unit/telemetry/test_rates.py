"""Rates: what a process has counted in the last hour."""

from shared.telemetry.rates import Rates

MINUTE_MS = 60_000
NOW_MS = 1_800_000_000_000


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    """Minutes are counted whole."""
    rates = Rates()
    assert rates.last_hour(NOW_MS) == {}
    for minute in range(3):
        rates.note("accepted", NOW_MS + minute * MINUTE_MS)
    rates.note("failed", NOW_MS + 2 * MINUTE_MS)
    assert rates.last_hour(NOW_MS + 2 * MINUTE_MS) == {"accepted": 3, "failed": 1}
    assert rates.last_hour(NOW_MS + 60 * MINUTE_MS) == {"accepted": 2, "failed": 1}
    assert rates.last_hour(NOW_MS + 62 * MINUTE_MS) == {}


def test_a_clock_that_is_set_back_counts_on() -> None:
    """What happens then is counted in the youngest minute."""
    rates = Rates()
    rates.note("accepted", NOW_MS)
    rates.note("accepted", NOW_MS - 10 * MINUTE_MS)
    assert rates.last_hour(NOW_MS) == {"accepted": 2}


def test_no_more_than_an_hour_is_kept() -> None:
    """A process that nobody asks for its rates does not grow."""
    rates = Rates()
    for minute in range(1_000):
        rates.note("accepted", NOW_MS + minute * MINUTE_MS)
    assert rates.last_hour(NOW_MS + 999 * MINUTE_MS) == {"accepted": 60}


def test_minutes_are_shown_one_by_one() -> None:
    """Oldest first, each with its beginning in unix seconds. A minute without counts is left out."""
    rates = Rates()
    assert rates.by_minute(NOW_MS) == []
    rates.note("accepted", NOW_MS)
    rates.note("accepted", NOW_MS + MINUTE_MS - 1)
    rates.note("failed", NOW_MS + 2 * MINUTE_MS)
    first, second = {"at": NOW_MS // 1000, "accepted": 2}, {"at": NOW_MS // 1000 + 120, "failed": 1}
    assert rates.by_minute(NOW_MS + 2 * MINUTE_MS) == [first, second]
    assert rates.by_minute(NOW_MS + 60 * MINUTE_MS) == [second]
