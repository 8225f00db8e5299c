"""Quotas: how many requests a caller may make a minute, and how many answers it may have open."""

import pytest

from shared.contract.callers import Caller, CallerLimits
from shared.runtime.quotas import OPEN_RETRY_S, Quotas, TooManyRequests

FREE = Caller("free", (), ())


class Minute:
    """Quotas with a clock."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.quotas = Quotas(lambda: self.now_s)

    def make(self, caller: Caller, count: int) -> list[dict[str, str]]:
        """Make this number of requests."""
        return [self.quotas.take_request(caller) for _ in range(count)]


def limited(name: str = "ann", **limits: int) -> Caller:
    """Return a caller with these limits."""
    return Caller(name, (), (), limits=CallerLimits(**limits))


def test_a_caller_without_a_limit_is_told_none() -> None:
    """Neither of requests, nor of open answers."""
    minute = Minute()
    assert minute.make(FREE, 1_000) == [{}] * 1_000
    for _ in range(1_000):
        minute.quotas.open_answer(FREE)


def test_a_minutes_requests_may_come_at_once() -> None:
    """Each is told what is left, in OpenAI's headers. The next one is refused, with the time until one comes back."""
    minute, ann = Minute(), limited(requests_per_minute=30)
    told = minute.make(ann, 30)
    assert told[0] == {
        "x-ratelimit-limit-requests": "30",
        "x-ratelimit-remaining-requests": "29",
        "x-ratelimit-reset-requests": "2.000s",
    }
    assert told[-1]["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(TooManyRequests) as refused:
        minute.make(ann, 1)
    assert (refused.value.status, refused.value.type, refused.value.code) == (
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
    )
    assert refused.value.retry_after_s == 2
    assert refused.value.headers["x-ratelimit-reset-requests"] == "60.000s"
    assert "30 requests a minute" in refused.value.message


def test_requests_come_back_one_by_one() -> None:
    """A caller that waits as long as it was told is served, and no sooner. A refusal uses nothing up."""
    minute, ann = Minute(), limited(requests_per_minute=30)
    minute.make(ann, 30)
    for _ in range(5):
        minute.now_s += 1.9
        with pytest.raises(TooManyRequests):
            minute.make(ann, 1)
        minute.now_s += 0.1
        minute.make(ann, 1)
    minute.now_s += 3_600
    minute.make(ann, 30)
    with pytest.raises(TooManyRequests):
        minute.make(ann, 1)


def test_callers_do_not_share_their_limits() -> None:
    """One that has used its own up takes nothing from another."""
    minute, ann, bob = Minute(), limited(requests_per_minute=1, max_streams=1), limited("bob", requests_per_minute=1)
    minute.make(ann, 1)
    minute.make(bob, 1)
    minute.quotas.open_answer(ann)
    minute.quotas.open_answer(bob)
    with pytest.raises(TooManyRequests):
        minute.quotas.open_answer(ann)


def test_an_answer_counts_until_it_ends_and_ends_once() -> None:
    """It may be told twice that it has ended: when it is sent, and when nobody can send it any more."""
    quotas, ann = Minute().quotas, limited(max_streams=2)
    first, _second = quotas.open_answer(ann), quotas.open_answer(ann)
    with pytest.raises(TooManyRequests, match="2 streams and waiting calls") as refused:
        quotas.open_answer(ann)
    assert refused.value.retry_after_s == OPEN_RETRY_S
    first()
    first()
    quotas.open_answer(ann)
    with pytest.raises(TooManyRequests):
        quotas.open_answer(ann)
