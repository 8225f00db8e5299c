"""The configuration of the flows: what holds without any setting, and which intervals must fit together."""

from dataclasses import replace

from shared.core.alarms import LEASE_MS, Kind
from shared.runs.lease import HOLD_MAX_MS
from shared.runtime.config import Config, Limits, Pace, Rules
from shared.settings import load_settings
from shared.transitions import run_transitions
from tests.unit.test_settings import LEAST

PACE = Pace()


def test_the_defaults_are_those_of_the_settings() -> None:
    """A response lives as long, and a stream as quietly, as in a deployment without optional settings."""
    limits, settings = Limits(), load_settings(LEAST)
    assert limits.deadline_ms == settings.deadline_s * 1000 == 4 * 3_600_000
    assert limits.retention_ms == settings.retention_s * 1000 == 30 * 86_400_000
    assert (PACE.stream_s, PACE.heartbeat_s) == (settings.stream_max_s, settings.stream_heartbeat_s) == (21_000.0, 15.0)
    assert PACE.bounded_begin_s == settings.foreground_hold_s == 85.0


def test_nothing_is_permitted_by_default() -> None:
    """Without rules there is no reply queue, no caller for queued requests and no loopback."""
    rules = Rules()
    assert (rules.reply_queues, rules.requests_caller) == ((), "")
    assert (rules.own_hosts, rules.allow_loopback) == (frozenset(), False)


def test_configurations_are_values() -> None:
    """Equal configurations are equal, and a change makes another one and leaves the first as it was."""
    first = Config()
    second = replace(first, limits=replace(first.limits, deadline_ms=1))
    assert (first, first.limits.deadline_ms) == (Config(), Limits().deadline_ms)
    assert second != first
    assert {first, Config(), second} == {first, second}


def test_a_hundred_runs_write_about_a_hundred_times_a_second() -> None:
    """One run stores its events within 100 ms. Any number of runs of a process makes about 100 writes a second."""
    assert PACE.flush_s == 0.1
    assert 100 * PACE.share_s == PACE.flush_max_s == 1.0


def test_a_lease_survives_a_renewal_that_failed() -> None:
    """At least three looks follow the first third of the shortest lease, so a renewal that fails loses no run."""
    assert 3 * PACE.renew_s * 1000 < run_transitions.lease_ms(replays=True) * 2 / 3
    assert run_transitions.lease_ms(replays=False) == LEASE_MS[Kind.RUN]


def test_no_stream_and_no_hold_outlasts_an_invocation() -> None:
    """The platform ends an invocation after six hours. A stream and a hold of a run end before."""
    assert max(PACE.stream_s, PACE.hold_s) * 1000 <= HOLD_MAX_MS < 6 * 3_600_000


def test_intervals_of_a_reader_are_in_order() -> None:
    """A reader looks often at first and less often later, but before a sweep is asked for and before a heartbeat."""
    assert 0 < PACE.tail_s < PACE.tail_idle_s < PACE.tail_max_s < PACE.wake_s < PACE.heartbeat_s < PACE.stream_s
