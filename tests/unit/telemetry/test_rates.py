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
