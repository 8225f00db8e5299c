"""The hand-over of a run in place: whoever waits for it goes on with the next holder."""

import asyncio

import pytest

from shared.core.errors import RefusedByUpstream, UpstreamError, UpstreamRefused, UpstreamUnavailable, UpstreamUncertain
from shared.storage.messages import RunOffer
from tests.support.conditions import until
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.run_holders import reaches
from tests.support.stage import Stage
from tests.support.stream_clients import Reader, kinds, streamed

REFUSAL = UpstreamRefused(404, "No such model.")


async def handed_over(stage: Stage, error: UpstreamError, writes: int) -> "asyncio.Task[Reader]":
    """Let a call's first try fail and another holder be refused. Return the call.

    The answer to the last of so many transactions is late. It gives up the run.
    """
    stage.pace(watch_s=0.05)
    stage.proxy.delay(is_transaction, 0.5, nth=writes)
    stage.upstream.is_background = False
    stage.upstream.streams.run_errors = [error, REFUSAL]
    call = asyncio.create_task(streamed(stage, background=False))

    async def is_asked() -> bool:
        return bool(stage.upstream.streams.runs)

    await until(is_asked)
    response_id = stage.upstream.streams.runs[0]
    await reaches(stage, response_id, lambda record: record.run.epoch == 2)
    await stage.fire_alarms(response_id)
    await (await stage.process()).drive(RunOffer(response_id, 2))
    return call


async def test_a_hand_over_whose_answer_is_late_is_noted(stage: Stage) -> None:
    """A look at the record may see the new epoch first. The call still waits for the next holder, and is refused."""
    call = await handed_over(stage, UpstreamUncertain("ReadError"), 2)
    with pytest.raises(RefusedByUpstream, match="No such model"):
        await call


async def test_a_wait_in_line_whose_answer_is_late_is_noted(stage: Stage) -> None:
    """The gate is written before it. The call waits for the next holder, too, whose refusal fails what is promised."""
    call = await handed_over(stage, UpstreamUnavailable("ConnectError"), 3)
    assert kinds(await (await call).rest()) == ["created", "error", "failed"]
