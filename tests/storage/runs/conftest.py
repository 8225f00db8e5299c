"""Fixtures of the tests of runs."""

from collections.abc import Awaitable, Callable

import pytest

from shared.runs import claims
from shared.runs.lease import RunLease
from tests.support.clocks import Clock
from tests.support.conditions import until
from tests.support.log_capture import WrittenLines, log_events
from tests.support.proxies.fault_proxy import StorageRequest, is_transaction
from tests.support.stage import Stage
from tests.support.stream_clients import QUICK

PATIENCE_S = 10.0


@pytest.fixture(autouse=True)
def quick(stage: Stage) -> None:
    """Make every wait of a stream short."""
    stage.pace(**QUICK)


@pytest.fixture
def waits(stage: Stage) -> list[float]:
    """Let waits pass a hundred times as fast. Return a list that gets every wait of a holder for its upstream, in s."""
    waited: list[float] = []

    class FastClock(Clock):
        def now_ms(self) -> int:
            return stage.clock.ms

        async def sleep(self, seconds: float) -> None:
            if 1 <= seconds <= PATIENCE_S:
                waited.append(seconds)
            await super().sleep(seconds / 100)

    stage.pace(patience_s=PATIENCE_S, renew_s=6_000, watch_s=100, tail_s=0.9, tail_max_s=0.9)
    stage.change(clock=FastClock())
    return waited


@pytest.fixture
def transaction_sizes(stage: Stage) -> list[int]:
    """Return a list that gets the size in bytes of every transaction as it is sent."""
    sizes: list[int] = []

    def note(request: StorageRequest) -> bool:
        sizes.append(len(request.body) if is_transaction(request) else 0)
        return False

    stage.proxy.delay(note, 0)
    return sizes


@pytest.fixture
def until_logged(written: WrittenLines) -> Callable[[str], Awaitable[None]]:
    """Return a function that waits until an event has been logged."""

    async def wait(event: str) -> None:
        async def is_logged() -> bool:
            return event in log_events(written)

        await until(is_logged)

    return wait


@pytest.fixture
async def lease(stage: Stage) -> RunLease:
    """Return the lease of a streamed run that this process has just claimed. Its upstream is a foreground one."""
    stage.upstream.is_background = False
    made = await stage.create(stream=True)
    claimed = await claims.claim(stage.ports, made.id, made.run.epoch)
    assert claimed
    return RunLease(stage.ports, *claimed)
