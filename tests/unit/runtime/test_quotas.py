"""Quotas: how many requests a caller may make a minute, how many answers it may have open, and how much in flight."""

import asyncio

import pytest

from shared.contract.callers import Caller, CallerLimits
from shared.runtime.quotas import OPEN_RETRY_S, InFlight, Quotas, TooManyRequests

FREE = Caller("free", (), ())


class Minute:
    """Quotas with a clock."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.quotas = Quotas(lambda: self.now_s)

    def make(self, caller: Caller, count: int) -> list[dict[str, str]]:
        """Make this number of requests. Return what the answer to each tells."""
        told = []
        for _ in range(count):
            self.quotas.take_request(caller)
            told.append(self.quotas.left(caller))
        return told


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
    assert minute.quotas.left(ann)["x-ratelimit-reset-requests"] == "60.000s"
    assert "30 requests a minute" in refused.value.message


def test_what_is_left_may_be_asked_at_any_time() -> None:
    """That counts as no request, before the first one, too. What has come back meanwhile is told."""
    minute, ann = Minute(), limited(requests_per_minute=30)
    told = [minute.quotas.left(ann)["x-ratelimit-remaining-requests"] for _ in range(3)]
    assert told == ["30", "30", "30"]
    minute.make(ann, 30)
    minute.now_s += 4
    assert minute.quotas.left(ann)["x-ratelimit-remaining-requests"] == "2"


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


# In flight


class Table:
    """Counts how often it was asked, and says how many responses there are."""

    def __init__(self, there: int) -> None:
        self.there = there
        self.asked = 0

    async def count(self) -> int:
        """Return how many there are, after a while."""
        self.asked += 1
        await asyncio.sleep(0.01)
        return self.there


async def taken(in_flight: InFlight, table: Table, count: int, limit: int = 10) -> int:
    """Try to let in so many at once. Return how many were let in."""
    tries = [in_flight.take("ann", limit, table.count) for _ in range(count)]
    return sum(callable(end) for end in await asyncio.gather(*tries, return_exceptions=True))


async def test_no_more_than_the_limit_are_let_in_at_once() -> None:
    """They share one look at the table, and what this process has let in since counts."""
    in_flight, table = InFlight(), Table(there=4)
    assert await taken(in_flight, table, 100) == 6
    assert await taken(in_flight, table, 100) == 0
    assert table.asked == 1


async def test_the_table_is_asked_again_after_a_second() -> None:
    """What has ended meanwhile makes room."""
    in_flight, table = InFlight(), Table(there=10)
    assert await taken(in_flight, table, 1) == 0
    table.there = 7
    until_s = asyncio.get_running_loop().time() + 10
    while not await taken(in_flight, table, 1):
        assert asyncio.get_running_loop().time() < until_s
        await asyncio.sleep(0.1)
    assert table.asked == 2
    assert await taken(in_flight, table, 5) == 2


async def test_a_refusal_says_when_to_try_again() -> None:
    """It is not known when one ends."""
    with pytest.raises(TooManyRequests, match="10 responses that have not ended") as refused:
        await InFlight().take("ann", 10, Table(there=10).count)
    assert (refused.value.status, refused.value.retry_after_s) == (429, OPEN_RETRY_S)


async def test_a_place_is_given_back() -> None:
    """By whoever has not made a response after all, such as a repeat."""
    in_flight, table = InFlight(), Table(there=9)
    give_back = await in_flight.take("ann", 10, table.count)
    assert await taken(in_flight, table, 1) == 0
    give_back()
    assert await taken(in_flight, table, 1) == 1


async def test_a_count_that_fails_fails_all_that_wait_for_it() -> None:
    """And is not kept."""
    in_flight, table = InFlight(), Table(there=0)

    async def fail() -> int:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await in_flight.take("bob", 10, fail)
    assert await taken(in_flight, table, 1) == 1
