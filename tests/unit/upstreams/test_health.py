"""The health of an upstream: what its calls show, and when it is called down."""

import asyncio
from contextlib import nullcontext

import pytest

from shared.core.backoff import ASKED_MAX_S, RETRY_AFTER_MAX_MS
from shared.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamMissing,
    UpstreamOversized,
    UpstreamRefused,
    UpstreamSilent,
    UpstreamUnavailable,
    UpstreamUncertain,
)
from shared.core.states import WaitReason
from shared.upstreams.health import FAILURES, KEPT_S, UNSEEN, WINDOW_S, Health, Sight, UpstreamState
from tests.support.log_capture import WrittenLines, log_lines

AWAY = UpstreamUnavailable("ConnectError")
KEYLESS = UpstreamUnavailable("status 401", waits_for=WaitReason.CREDENTIALS)
FORBIDDEN = UpstreamRefused(403, "Public access is disabled. Please configure a private endpoint.")
START_S = 1_796_014_719.0


class Patient:
    """The health of an upstream, and a clock."""

    def __init__(self) -> None:
        self.now_s = START_S
        self.health = Health(lambda: self.now_s)

    def call(self, error: BaseException | None = None, *, after_s: float = 1.0) -> Sight:
        """Let a call end after so many seconds, and return how the upstream is then seen."""
        self.now_s += after_s
        expected = pytest.raises(type(error)) if error else nullcontext()
        with expected, self.health.noting():
            if error:
                raise error
        return self.health.sight()


def test_nothing_is_known_before_a_call() -> None:
    """A process that has just started says so."""
    assert Patient().health.sight() == UNSEEN


@pytest.mark.parametrize("error", [AWAY, KEYLESS, UpstreamUncertain("status 502")], ids=str)
def test_three_failures_in_a_row_within_a_minute_are_down(error: UpstreamError) -> None:
    """Since the first of them, with the reason of the last. Two show nothing yet."""
    one = Patient()
    for _ in range(FAILURES - 1):
        assert one.call(error).state is UpstreamState.UNKNOWN
    assert one.call(error) == Sight(UpstreamState.DOWN, START_S + 1, error.waits_for, str(error))
    assert one.call(KEYLESS) == Sight(UpstreamState.DOWN, START_S + 1, "credentials", "status 401")


@pytest.mark.parametrize(
    "error",
    [
        None,
        UpstreamRefused(400, "No."),
        UpstreamMissing(),
        UpstreamFailed("busy", "Worker limit reached."),
        UpstreamUnavailable("status 429", waits_for=WaitReason.RATE_LIMIT),
    ],
    ids=str,
)
def test_any_answer_is_up(error: UpstreamError | None) -> None:
    """A refusal and a rate limit are answers. The upstream is up since the first of them."""
    one = Patient()
    for _ in range(FAILURES):
        one.call(AWAY)
    since_s = one.now_s + 1
    assert one.call(error) == one.call(error) == Sight(UpstreamState.UP, since_s)
    assert one.call(AWAY).state is UpstreamState.UNKNOWN


@pytest.mark.parametrize(
    "shown",
    [
        asyncio.CancelledError(),
        UpstreamSilent("nothing for 60 s"),
        UpstreamBroken("cut"),
        UpstreamOversized(),
        UpstreamUnavailable("PoolTimeout", waits_for=None),
    ],
    ids=repr,
)
def test_what_shows_nothing_changes_nothing(shown: BaseException) -> None:
    """A caller may leave, a model may think, a long stream may break, and a limit or a pool may be our own."""
    one = Patient()
    assert one.call(shown) == UNSEEN
    for _ in range(FAILURES):
        one.call(AWAY)
    before = one.health.sight()
    assert one.call(shown) == before


def test_failures_that_are_far_apart_are_not_down() -> None:
    """An upstream that fails now and then is in use."""
    one = Patient()
    for _ in range(5):
        assert one.call(AWAY, after_s=WINDOW_S / 2 + 1).state is not UpstreamState.DOWN


def test_what_was_seen_long_ago_is_forgotten() -> None:
    """A monitor would otherwise keep an instance out that nobody has asked since."""
    one = Patient()
    for _ in range(FAILURES):
        one.call(AWAY)
    one.now_s += KEPT_S
    assert one.health.sight().state is UpstreamState.DOWN
    one.now_s += 1
    assert one.health.sight() == UNSEEN


def test_an_outage_stays_down_while_tries_follow_their_back_off() -> None:
    """One response waits, and its tries are up to 75 s apart after the first minute."""
    one = Patient()
    for wait_s in (1, 1, 2, 4, 8, 16, 32, 60, 75, 75, 75):
        one.call(AWAY, after_s=wait_s)
    assert one.health.sight().state is UpstreamState.DOWN
    assert one.health.sight().since_s == START_S + 1


def test_creates_that_are_refused_with_403_are_down(written: WrittenLines) -> None:
    """A firewall or a missing role refuses every create. A line tells each, and has none of the upstream's words."""
    one = Patient()
    for _ in range(FAILURES):
        seen = one.call(FORBIDDEN)
    assert seen == Sight(UpstreamState.DOWN, START_S + 1, "credentials", "status 403")
    told = {"event": "upstream.create_refused", "reason": "status 403", "waits_for": "credentials"}
    assert log_lines(written) == [told] * FAILURES


def test_an_outage_stays_down_for_its_retry_after() -> None:
    """Nothing is sent until then, so there is no answer that could end it."""
    one, retry_after_s = Patient(), 600.0
    for _ in range(FAILURES):
        one.call(UpstreamUnavailable("status 503", retry_after_s=retry_after_s))
    one.now_s += retry_after_s + KEPT_S
    assert one.health.sight().state is UpstreamState.DOWN
    one.now_s += 1
    assert one.health.sight() == UNSEEN
    for _ in range(FAILURES):
        one.call(UpstreamUnavailable("status 503", retry_after_s=ASKED_MAX_S))
    one.now_s += RETRY_AFTER_MAX_MS / 1000 + KEPT_S + 1
    assert one.health.sight() == UNSEEN
