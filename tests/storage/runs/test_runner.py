"""Driving a run: crashes, the longest time of a holder, and a refusal while storage is away."""

import asyncio
from typing import Any

import pytest

from shared.core.errors import StoreUnavailable, UpstreamRefused
from shared.core.states import Status
from shared.storage.messages import RunOffer
from shared.upstreams.protocol import UpstreamEvent
from tests.support.fakes.streams import Streams, story
from tests.support.proxies.fault_proxy import is_read
from tests.support.run_holders import die, held, logged, offered
from tests.support.stage import Stage
from tests.support.stream_clients import expected_lines, kinds, lines_of, offers, replayed, streamed

# Crashes and later holders


@pytest.mark.parametrize("place", [3, 5, 8])
async def test_a_crash_between_sending_and_logging_changes_no_number(stage: Stage, place: int) -> None:
    """After a crash, events that were sent to the client but not logged are logged again under the same numbers."""
    stage.pace(flush_s=600)
    first, gate = stage.upstream.streams.hold(2), stage.upstream.streams.hold(place)
    reader = await streamed(stage)
    await logged(stage, reader.id, 2)
    first.open()
    await reader.take(place - 1)
    await die(held(stage))
    assert (await stage.record(reader.id)).log.next_seq == 2 < place
    await stage.fire_alarms(reader.id)
    assert offers(stage, reader.id) == [2]
    gate.open()
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    again = await replayed(stage, reader.id)
    assert again[:place] == reader.received
    assert lines_of(again) == expected_lines(story(6))
    assert stage.upstream.begun == {reader.id: 1}


async def test_a_long_run_is_handed_over_in_time(stage: Stage) -> None:
    """After its longest time, a holder hands the run of a background upstream over to another process.

    An invocation has a time limit.
    """
    stage.pace(hold_s=0.3)
    gate = stage.upstream.streams.hold(4)
    reader = await streamed(stage)
    await offered(stage, reader.id, 2)
    gate.open()
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    assert lines_of(await reader.rest()) == expected_lines(story(6))


async def test_a_request_that_cannot_be_read_uses_up_no_try(stage: Stage) -> None:
    """It is read before the claim, which counts a try of the upstream. So the offer stays open."""
    stage.upstream.is_background = False
    made = await stage.create()
    stage.proxy.refuse(lambda request: is_read(request) and "%7Cinput" in request.path)
    for _ in range(6):
        with pytest.raises(StoreUnavailable):
            await stage.engine.drive(RunOffer(made.id, 1))
        await stage.fire_alarms(made.id)
    record = await stage.record(made.id)
    assert (record.upstream.counted, record.run.expirations, record.run.epoch) == (0, 0, 1)
    stage.proxy.heal()
    await stage.engine.drive(RunOffer(made.id, 1))
    assert (await stage.record(made.id)).status is Status.COMPLETED


# A refusal


class Refusing(Streams):
    """Streams of an upstream that waits at the gate and then refuses the request."""

    def _sent(self, *_event: Any) -> UpstreamEvent:
        raise UpstreamRefused(400, "Not this.")


async def test_a_refusal_while_storage_is_away_becomes_the_end(stage: Stage) -> None:
    """If storage fails during a refusal, the response cannot be removed.

    It is kept and fails with the refusal, and its caller is answered in time.
    """
    stage.upstream.streams = Refusing()
    gate = stage.upstream.streams.hold(0)
    creating = asyncio.create_task(streamed(stage))
    await gate.reached.wait()
    async with stage.proxy.refusing():
        gate.open()
        async with asyncio.timeout(5):
            reader = await creating
    assert kinds(await reader.rest()) == ["created", "error", "failed"]
    assert (await stage.shown(reader.id))["error"]["message"] == "Not this."
