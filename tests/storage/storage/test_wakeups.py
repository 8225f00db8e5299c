"""Nudges: when one is sent, for what moment, how long it is parked, and that none is ever missed."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import orjson
import pytest

from local.stack.ports import free_port
from shared.bootstrap import build_ports
from shared.core.alarms import Alarm, Kind
from shared.core.errors import StoreUnavailable
from shared.core.ids import new_id
from shared.engine import Engine
from shared.settings import load_settings
from shared.storage.messages import DELIVERIES, HINTS, RUNS
from shared.storage.wakeups import Wakeups
from tests.support.clocks import START_MS
from tests.support.proxies.fault_proxy import StorageRequest
from tests.support.proxies.lossy_proxy import LossyProxy
from tests.support.stage import Stage, wakeup

NOW_S = START_MS // 1000


@pytest.fixture
async def lossy(connection_string: str) -> AsyncIterator[LossyProxy]:
    """Give a proxy that loses requests on their way to the account's queues."""
    endpoint = dict(part.partition("=")[::2] for part in connection_string.split(";"))["QueueEndpoint"]
    async with LossyProxy("queue", urlsplit(endpoint).port or 80) as proxy:
        yield proxy


def is_message(request: StorageRequest) -> bool:
    """Say whether a request puts a message on a queue."""
    return request.method == "POST"


@pytest.mark.parametrize(
    ("due_ms", "at_s", "delay_s"),
    [(-90_000, -90, 0), (0, 0, 0), (1, 1, 1), (1_000, 1, 1), (1_001, 2, 2), (58_001, 59, 59), (59_000, 59, 59)],
)
async def test_a_nudge_is_for_the_second_in_which_the_alarm_is_due(
    stage: Stage, due_ms: int, at_s: int, delay_s: int
) -> None:
    """The due time is rounded up to the second, because queues count in seconds; what is overdue is for now."""
    await stage.ports.wakeups.sweep("a", START_MS + due_ms)
    assert stage.sent == [wakeup(NOW_S + at_s, delay_s)]


async def test_a_nudge_is_never_parked_beyond_the_second_it_is_for(stage: Stage) -> None:
    """Within a second the wait is rounded down: early is harmless, the message's time counts, late is not."""
    stage.clock.advance(0.3)
    await stage.ports.wakeups.sweep("a", START_MS + 1_500)
    assert stage.sent == [wakeup(NOW_S + 2, 1)]


@pytest.mark.parametrize("due_ms", [59_001, 60_000, 3_600_000])
async def test_what_is_due_in_a_minute_or_later_gets_no_message(stage: Stage, due_ms: int) -> None:
    """Invisible messages make the platform scale out: a later alarm is the heartbeat's."""
    await stage.ports.wakeups.sweep("a", START_MS + due_ms)
    assert stage.sent == []


async def test_one_process_nudges_once_for_a_shard_and_second(stage: Stage) -> None:
    """All alarms of a shard that are due in the same second share one message; other shards have their own."""
    for due_ms in (1_001, 1_500, 2_000, 2_001):
        await stage.ports.wakeups.sweep("a", START_MS + due_ms)
    await stage.ports.wakeups.sweep("b", START_MS + 1_001)
    assert stage.sent == [wakeup(NOW_S + 2, 2), wakeup(NOW_S + 3, 3), wakeup(NOW_S + 2, 2, "b")]


async def test_a_nudge_for_now_is_always_sent(stage: Stage) -> None:
    """The one before it may have been used up before this alarm was written."""
    for _ in range(2):
        await stage.ports.wakeups.sweep("a", START_MS)
    assert stage.sent == [wakeup(NOW_S, 0)] * 2


async def test_a_nudge_that_was_lost_is_sent_when_it_is_asked_for_again(
    lossy: LossyProxy, connection_string: str
) -> None:
    """Only one that a queue has taken is not repeated."""
    async with Stage(lossy.through(connection_string)) as stage:
        lossy.lose(is_message)
        for _ in range(3):
            await stage.ports.wakeups.sweep("a", START_MS + 2_000)
        assert stage.sent == [wakeup(NOW_S + 2, 2)] * 2


async def test_a_message_whose_connection_dies_is_sent_again(lossy: LossyProxy, connection_string: str) -> None:
    """Within the deadline of a send, as the service is set up: nobody who waits for its alarm has to."""
    settings = {"UPSTREAM_BASE_URL": "https://api.example.com/v1", "CALLERS": '[{"name": "ann"}]'}
    world = build_ports(load_settings({"AzureWebJobsStorage": lossy.through(connection_string), **settings}))
    await world.wakeups.prepare()
    lost = lossy.lose(is_message)
    await world.wakeups.deliver("key")
    await Engine(world).aclose()
    assert lost.happened.is_set()
    async with Stage(connection_string) as stage, stage.queue(DELIVERIES) as queue:
        message = await queue.receive_message()
    assert message is not None
    assert orjson.loads(message.content) == {"alarm": "key"}


async def test_a_delivery_is_asked_for_at_once_by_the_key_of_its_alarm(stage: Stage) -> None:
    """The message names the alarm and nothing else; the queue holds it as the trigger reads it."""
    key = Alarm(START_MS, Kind.DELIVER, new_id(), "c").key
    await stage.ports.wakeups.deliver(key)
    async with stage.queue(DELIVERIES) as queue:
        message = await queue.receive_message()
    assert message is not None
    assert orjson.loads(message.content) == {"alarm": key}


async def test_a_run_is_offered_at_once_for_one_epoch(stage: Stage) -> None:
    """The message names the response and the epoch of its next holder, and nothing else."""
    response_id = new_id()
    await stage.ports.wakeups.offer(response_id, 3)
    async with stage.queue(RUNS) as queue:
        message = await queue.receive_message()
    assert message is not None
    assert orjson.loads(message.content) == {"id": response_id, "epoch": 3}


async def test_queues_are_made_once(stage: Stage) -> None:
    """Preparing again finds what is there, and a check passes."""
    await stage.ports.wakeups.prepare()
    await stage.ports.wakeups.check()


async def test_sending_never_raises(stage: Stage, connection_string: str) -> None:
    """What was to be said is in the table: a queue that cannot be reached costs no one an answer."""
    dead = re.sub(r"(?<=QueueEndpoint=http://127.0.0.1:)\d+", str(free_port()), connection_string)
    lost = Stage(dead)
    async with AsyncExitStack() as opened:
        queues = {name: await opened.enter_async_context(lost.queue(name)) for name in HINTS}
        unreachable = Wakeups(queues, stage.clock.now_ms)
        await unreachable.sweep("a", START_MS)
        await unreachable.deliver("key")
        await unreachable.offer(new_id(), 1)
        with pytest.raises(StoreUnavailable):
            await unreachable.check()
        with pytest.raises(StoreUnavailable):
            await unreachable.prepare()
