"""What an unfinished response waits for, as callers read it."""

from dataclasses import replace

import orjson
import pytest
from openai.types.responses import Response

from shared.contract.responses import encode, present, present_known, waiting
from shared.core.records import Record, RequestInfo, WaitInfo
from shared.core.states import Status, WaitReason

NEW = Record(f"resp_{'a' * 32}", "ann", 1_000, 9_000_000, request=RequestInfo(model="m"))
WAIT = WaitInfo(WaitReason.RATE_LIMIT, "status 429", 3, 1_796_014_719_999, 1_796_014_760_001)


def test_times_are_unix_seconds_and_the_next_try_is_not_before_what_is_told() -> None:
    """The time of the next try is rounded up, so that who asks then finds it made."""
    assert waiting(WAIT) == {
        "reason": "rate_limit",
        "detail": "status 429",
        "tries": 3,
        "since": 1_796_014_719,
        "next_at": 1_796_014_761,
        "place": None,
    }


def test_an_unknown_time_of_the_next_try_is_null() -> None:
    """A GET that cannot ask the upstream does not know when the next poll is."""
    assert waiting(replace(WAIT, next_ms=0))["next_at"] is None


@pytest.mark.parametrize("status", Status)
def test_only_an_unfinished_response_that_waits_says_so(status: Status) -> None:
    """The SDK accepts the member."""
    shown = present_known(replace(NEW, status=status, wait=WAIT), {"model": "m"}, 2_000)
    assert ("waiting" in shown) is (not status.is_terminal)
    assert "waiting" not in present_known(replace(NEW, status=status), {}, 2_000)
    Response.model_validate(orjson.loads(encode(shown)))


def test_what_an_upstream_waited_for_when_it_was_asked_last_is_not_told() -> None:
    """It may be such a service itself. What it says now is passed on, and what it said before is over."""
    theirs = waiting(WAIT)
    assert present(NEW, Status.QUEUED, {"waiting": theirs}, {}, 2_000)["waiting"] == theirs
    assert "waiting" not in present(NEW, Status.QUEUED, {}, {"waiting": theirs}, 2_000)
