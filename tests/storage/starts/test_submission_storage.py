"""Submission while storage fails: what is not accepted says so, and what is accepted is kept."""

import asyncio

import pytest

from shared.core.alarms import Kind
from shared.core.errors import (
    StoreUnavailable,
)
from shared.core.states import Status
from tests.support.proxies.fault_proxy import StorageRequest, is_transaction
from tests.support.stage import Stage


async def test_storage_that_fails_before_the_start_accepts_nothing(stage: Stage) -> None:
    """If the first transaction fails, no response is accepted and the upstream is not called."""
    async with stage.proxy.refusing():
        with pytest.raises(StoreUnavailable):
            await stage.create()
    assert stage.upstream.starts == {}


async def test_storage_that_fails_after_the_start_loses_no_response(stage: Stage) -> None:
    """If storage fails after the work has started, the caller still gets its response. A later try learns the token."""
    gate = stage.upstream.hold_starts()
    starter = asyncio.create_task(stage.create())
    await gate.reached.wait()
    async with stage.proxy.refusing():
        gate.open()
        made = await starter
    assert (made.status, made.upstream.token) == (Status.QUEUED, None)
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert list(stage.upstream.works) == ["up_0"]


async def test_storage_that_is_slower_than_the_lease_starts_nothing_twice(stage: Stage) -> None:
    """If the first transaction takes 31 s, a sweep may have started the response. So only a sweep does."""
    slow: list[StorageRequest] = []

    def is_slow(request: StorageRequest) -> bool:
        if is_transaction(request) and not slow:
            slow.append(request)
            stage.clock.ms += 31_000
        return False

    stage.proxy.delay(is_slow, 0)
    made = await stage.create()
    assert (made.status, stage.upstream.starts) == (Status.QUEUED, {})
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert stage.upstream.starts == {made.id: 1}


@pytest.mark.parametrize("nth", [1, 2])
async def test_a_lost_answer_of_storage_changes_nothing(stage: Stage, nth: int) -> None:
    """If storage loses the answer to either transaction of a start, the write is recognised and nothing changes."""
    lost = stage.proxy.drop_answer(is_transaction, nth)
    made = await stage.create()
    assert lost.happened.is_set()
    assert made.upstream.token == "up_0"
    assert await stage.kinds(made.id) == [Kind.POLL]
    assert stage.upstream.starts == {made.id: 1}
