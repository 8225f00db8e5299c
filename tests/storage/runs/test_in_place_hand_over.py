"""The hand-over of a run in place: whoever waits for it goes on with the next holder."""

import asyncio

import pytest

from shared.core.errors import RefusedByUpstream, UpstreamRefused, UpstreamUnavailable
from shared.storage.messages import RunOffer
from tests.support.conditions import until
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.run_holders import reaches
from tests.support.stage import Stage
from tests.support.stream_clients import streamed


async def test_a_hand_over_whose_answer_is_late_is_noted(stage: Stage) -> None:
    """A look at the record may see the new epoch first. The call still waits for the next holder, and is refused."""
    stage.pace(watch_s=0.05)
    stage.proxy.delay(is_transaction, 0.5, nth=2)
    stage.upstream.is_background = False
    stage.upstream.streams.run_errors = [UpstreamUnavailable("ConnectError"), UpstreamRefused(404, "No such model.")]
    call = asyncio.create_task(streamed(stage, background=False))

    async def is_asked() -> bool:
        return bool(stage.upstream.streams.runs)

    await until(is_asked)
    response_id = stage.upstream.streams.runs[0]
    await reaches(stage, response_id, lambda record: record.run.epoch == 2)
    await stage.fire_alarms(response_id)
    await (await stage.process()).drive(RunOffer(response_id, 2))
    with pytest.raises(RefusedByUpstream, match="No such model"):
        await call
