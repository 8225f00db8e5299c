"""Tries: what every status and every error of a create means, and when the next try follows."""

import inspect
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core import errors
from shared.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamInvalid,
    UpstreamMissing,
    UpstreamOversized,
    UpstreamPaused,
    UpstreamRedirected,
    UpstreamRefused,
    UpstreamSilent,
    UpstreamUnavailable,
    UpstreamUncertain,
    UpstreamUndecodable,
    UpstreamUnnamed,
    UpstreamUnusable,
)
from shared.upstreams import tries
from shared.upstreams.tries import Meaning, NextTry

FREE, COUNTED, END = Meaning
SPENT = [
    *("insufficient_quota insufficient_quota", "None exceeded_current_quota_error", "billing_hard_limit_reached None"),
    *("QuotaExceeded None", "budget_exceeded None", "1113 insufficient_balance", "credit_balance_too_low None"),
]
UNCERTAIN, AWAY = UpstreamUncertain("status 502"), UpstreamUnavailable("ConnectError")


def still() -> float:
    """Return no jitter."""
    return 0.0


@pytest.mark.parametrize("status", [one for one in range(100, 1_000) if not 200 <= one < 300])
def test_every_status_is_free_counted_or_an_end(status: int) -> None:
    """401, 425, 429 and 503 have begun nothing. Any other 3xx and 4xx but 408, and 501, are told in words.

    Everything else may have begun the work.
    """
    if status in (401, 425, 429, 503):
        expected = FREE
    elif status == 501 or (300 <= status < 500 and status != 408):
        expected = END
    else:
        expected = COUNTED
    assert tries.of_status(status) is expected
    assert tries.of_status(status, "rate_limit_exceeded requests") is expected


@pytest.mark.parametrize("code", SPENT)
def test_a_429_about_a_spent_quota_is_an_end(code: str) -> None:
    """No wait heals it. The same words in another status change nothing."""
    assert tries.of_status(429, code) is END
    for status in (401, 408, 500, 503):
        assert tries.of_status(status, code) is tries.of_status(status)


def kinds_of(base: type[Any]) -> set[type[Any]]:
    """Return a class and all classes below it."""
    return {base}.union(*(kinds_of(one) for one in base.__subclasses__()))


@pytest.mark.parametrize("name", sorted(one.__name__ for one in kinds_of(httpx.HTTPError)))
def test_only_an_error_before_the_request_is_sent_is_free(name: str) -> None:
    """Without a connection nothing was sent. After any other error of the client the work may have begun."""
    not_sent = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}
    assert tries.of_transport(name) is (FREE if name in not_sent else COUNTED)
    assert not_sent <= {one.__name__ for one in kinds_of(httpx.HTTPError)}


EXAMPLES: dict[type[UpstreamError], tuple[UpstreamError, Meaning]] = {
    UpstreamError: (UpstreamError(), COUNTED),
    UpstreamRefused: (UpstreamRefused(400, "No."), END),
    UpstreamFailed: (UpstreamFailed("c", "No."), END),
    UpstreamUnavailable: (AWAY, FREE),
    UpstreamUncertain: (UNCERTAIN, COUNTED),
    UpstreamMissing: (UpstreamMissing(), COUNTED),
    UpstreamBroken: (UpstreamBroken("x"), COUNTED),
    UpstreamSilent: (UpstreamSilent("x"), COUNTED),
    UpstreamPaused: (UpstreamPaused(), FREE),
    UpstreamInvalid: (UpstreamInvalid(), COUNTED),
    UpstreamUndecodable: (UpstreamUndecodable(), COUNTED),
    UpstreamUnnamed: (UpstreamUnnamed(), END),
    UpstreamOversized: (UpstreamOversized(), END),
    UpstreamRedirected: (UpstreamRedirected(), END),
}


def test_every_kind_of_error_has_a_meaning() -> None:
    """The table has each class of an upstream's error. What it does not know may have begun the work."""
    known = {one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, UpstreamError)}
    assert known - {UpstreamUnusable} == EXAMPLES.keys()
    for error, expected in EXAMPLES.values():
        assert tries.of_error(error) is expected, error


# The next try


def test_counted_tries_wait_ten_seconds_and_two_minutes() -> None:
    """After the third there is none. A Retry-After is a minimum."""
    found = [tries.next_try(UNCERTAIN, counted, 0, still, honours_keys=False) for counted in (1, 2, 3, 4)]
    assert found == [NextTry(10_000, 1, 0), NextTry(120_000, 2, 0), None, None]
    asked = UpstreamUncertain("status 500", retry_after_s=30)
    assert tries.next_try(asked, 1, 0, still, honours_keys=False) == NextTry(31_000, 1, 0)


def test_a_free_try_takes_its_count_back_and_backs_off() -> None:
    """It may be repeated until the deadline. Its wait grows up to half a minute, without jitter."""
    found = [tries.next_try(AWAY, 1, free, still, honours_keys=False) for free in range(8)]
    assert [one.wait_ms // 1_000 for one in found if one] == [1, 1, 2, 4, 8, 16, 30, 30]
    assert {(one.counted, one.free - free) for free, one in enumerate(found) if one} == {(0, 1)}


@given(st.sampled_from([error for error, meaning in EXAMPLES.values() if meaning is not END]), st.integers(0, 50))
def test_with_honoured_keys_no_try_is_counted(error: UpstreamError, counted: int) -> None:
    """A repeat begins nothing there, so there is always another try, and its count is taken back."""
    found = tries.next_try(error, counted, 2, still, honours_keys=True)
    assert found == NextTry(2_000, max(0, counted - 1), 3)


@given(st.lists(st.sampled_from(["free", "counted", "death"]), max_size=60), st.floats(0, 0.99))
def test_whatever_happens_there_are_at_most_three_counted_tries(course: list[str], jitter: float) -> None:
    """Free tries may go on. Tries that may have begun work are three at most, and 130 s apart from first to last.

    Each try is counted before it is made, so one that ends with its process counts, too.
    """
    counted, free, began, waited_ms = 0, 0, 0, 0
    for step in course:
        counted += 1
        if counted > 3:
            break
        began += step != "free"
        error = AWAY if step == "free" else UNCERTAIN
        following = (
            None if step == "death" else tries.next_try(error, counted, free, lambda: jitter, honours_keys=False)
        )
        if step == "death":
            continue
        if following is None:
            break
        counted, free = following.counted, following.free
        waited_ms += following.wait_ms if step == "counted" else 0
    assert began <= 3
    assert course.count("death") or began < 3 or waited_ms >= 130_000


# Streams that no caller asked for


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRefused(400, "Streaming is not supported."),
        UpstreamRefused(422, "Unknown parameter.", param="stream"),
        UpstreamRefused(400, "No.", code="stream_unsupported"),
        UpstreamRefused(406, "Not acceptable."),
        UpstreamRefused(501, "Not implemented."),
        UpstreamFailed("500", "'async for' requires an object with __aiter__ method"),
        UpstreamUncertain("status 500", message="stream and background cannot be used together"),
    ],
)
def test_a_refusal_of_a_stream_is_recognised(error: UpstreamError) -> None:
    """The upstream says so by the param, the code, the message, or a status that has no other sense."""
    assert tries.is_about_streaming(error)


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRefused(400, "No such model.", param="model"),
        UpstreamRefused(400, "The upstream refused it."),
        UNCERTAIN,
        AWAY,
        UpstreamInvalid(),
        UpstreamBroken("the stream ended early"),
    ],
)
def test_another_trouble_is_not_about_streaming(error: UpstreamError) -> None:
    """A request that is refused for another reason is not sent twice."""
    assert not tries.is_about_streaming(error)


def test_a_refusal_of_the_background_is_recognised() -> None:
    """It is an end in words that names the background, and an upstream's trouble is none."""
    assert tries.is_about_background(UpstreamRefused(400, "Unknown parameter: 'background'."))
    assert tries.is_about_background(UpstreamFailed("unsupported", "No.", param="background"))
    assert not tries.is_about_background(UpstreamRefused(400, "No such model."))
    assert not tries.is_about_background(UpstreamUncertain("status 500", message="background task failed"))
