"""An upstream that is no longer in the settings: every call fails as one that began nothing."""

from dataclasses import replace

import pytest

from shared.core.errors import UpstreamError, UpstreamUnavailable
from shared.core.records import WaitInfo
from shared.core.states import WaitReason
from shared.upstreams import tries
from shared.upstreams.removed import GRACE_MS, RemovedUpstream, is_given_up, is_removed
from shared.upstreams.tries import Meaning

GONE = RemovedUpstream("eu")
ERROR = UpstreamUnavailable("x", waits_for=WaitReason.UPSTREAM_REMOVED)


async def test_every_call_about_work_fails() -> None:
    """The error names the upstream, and another try is free, as the settings may come back."""
    for call in (
        GONE.poll("up_1"),
        GONE.start({}, "key"),
        anext(GONE.stream({}, "key")),
        anext(GONE.resume("up_1", 3)),
    ):
        with pytest.raises(UpstreamError, match="'eu'") as raised:
            await call
        assert is_removed(raised.value)
        assert tries.of_error(raised.value) is Meaning.FREE


async def test_what_can_be_left_is_left() -> None:
    """Nothing can be stopped, deleted or checked there."""
    GONE.validate({}, None)
    await GONE.stop("up_1")
    await GONE.forget("up_1")
    await GONE.check()
    await GONE.aclose()


def test_a_response_is_given_up_after_two_minutes() -> None:
    """From the first call that found no upstream. Another error, or another reason to wait, gives up nothing."""
    waits = WaitInfo(WaitReason.UPSTREAM_REMOVED, since_ms=1_000)
    assert not is_given_up(ERROR, waits, 1_000 + GRACE_MS - 1)
    assert is_given_up(ERROR, waits, 1_000 + GRACE_MS)
    assert not is_given_up(ERROR, WaitInfo(), 10**13)
    assert not is_given_up(ERROR, replace(waits, reason=WaitReason.STORAGE), 10**13)
    assert not is_given_up(UpstreamUnavailable("x"), waits, 10**13)
    assert not is_removed(ValueError())
