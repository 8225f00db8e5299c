"""Wake-ups: when one is sent, for which second, with which delay, and that a lost one is sent again."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import orjson
import pytest

from local.stack.ports import free_port
from shared.core.errors import StoreUnavailable
from shared.core.ids import new_id
from shared.storage.messages import HINTS, RUNS
from shared.storage.wakeups import GATHER_S, Wakeups
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.proxies.fault_proxy import StorageRequest
from tests.support.proxies.lossy_proxy import LossyProxy
from tests.support.sent_messages import wakeup
from tests.support.stage import Stage

NOW_S = START_MS // 1000
NEXT_S = NOW_S + 60


@pytest.fixture
async def lossy(connection_string: str) -> AsyncIterator[LossyProxy]:
    """Give a proxy that loses requests on their way to the account's queues."""
    endpoint = dict(part.partition("=")[::2] for part in connection_string.split(";"))["QueueEndpoint"]
    async with LossyProxy("queue", urlsplit(endpoint).port or 80) as proxy:
        yield proxy


def is_message(request: StorageRequest) -> bool:
    """Return whether a request puts a message on a queue."""
    return request.method == "POST"


@pytest.mark.parametrize(
    ("due_ms", "at_s", "delay_s"),
    [(-90_000, -90, 0), (0, 0, 0), (1, 1, 1), (1_000, 1, 1), (1_001, 2, 2), (58_001, 59, 59), (59_000, 59, 59)],
)
async def test_a_wakeup_is_for_the_second_in_which_the_alarm_is_due(
    stage: Stage, due_ms: int, at_s: int, delay_s: int
) -> None:
    """A wake-up names the alarm's due time, rounded up to the second because queues count in seconds.

    The wake-up for an overdue alarm is visible at once.
    """
    await stage.ports.wakeups.sweep("a", START_MS + due_ms)
    assert stage.sent == [wakeup(NOW_S + at_s, delay_s)]


async def test_a_wakeup_is_never_delayed_beyond_its_second(stage: Stage) -> None:
    """The delay is rounded down to the second, so a wake-up may be early but not late.

    An early one is harmless, because the sweep uses the time in the message.
    """
    stage.clock.advance(0.3)
    await stage.ports.wakeups.sweep("a", START_MS + 1_500)
    assert stage.sent == [wakeup(NOW_S + 2, 1)]


@pytest.mark.parametrize("due_ms", [59_001, 60_000, 3_600_000])
async def test_an_alarm_due_in_a_minute_or_later_gets_no_message(stage: Stage, due_ms: int) -> None:
    """An alarm that is due in more than 59 s gets no message, because invisible messages make the platform scale out.

    The heartbeat finds it.
    """
    await stage.ports.wakeups.sweep("a", START_MS + due_ms)
    assert stage.sent == []


async def test_a_process_sends_one_wakeup_per_shard_and_second(stage: Stage) -> None:
    """All alarms of a shard that are due in the same second share one message. Other shards have their own."""
    for due_ms in (1_001, 1_500, 2_000, 2_001):
        await stage.ports.wakeups.sweep("a", START_MS + due_ms)
    await stage.ports.wakeups.sweep("b", START_MS + 1_001)
    assert stage.sent == [wakeup(NOW_S + 2, 2), wakeup(NOW_S + 3, 3), wakeup(NOW_S + 2, 2, "b")]


async def test_an_immediate_wakeup_is_always_sent(stage: Stage) -> None:
    """An immediate wake-up is always sent, because an earlier one may be consumed before this alarm is written."""
    for _ in range(2):
        await stage.ports.wakeups.sweep("a", START_MS)
    assert stage.sent == [wakeup(NOW_S, 0)] * 2


# Gathered


@pytest.fixture
async def gathering(connection_string: str) -> AsyncIterator[Stage]:
    """Give a stage whose process gathers wake-ups for as long as the service does."""
    async with Stage(connection_string, gather_s=GATHER_S) as stage:
        yield stage


async def test_wakeups_for_one_second_are_one_message(gathering: Stage) -> None:
    """What a process decides on within 50 ms is one message for each second. No caller waits for it."""
    wakeups = gathering.ports.wakeups
    for shard, due_ms in (("b", 2_000), ("0", 1_001), ("b", 1_500), ("f", 30_000), ("0", 2_000), ("a", 60_000)):
        await wakeups.sweep(shard, START_MS + due_ms)
    assert gathering.sent == []
    await wakeups.aclose()
    assert sorted(gathering.sent, key=str) == [wakeup(NOW_S + 2, 2, "0b"), wakeup(NOW_S + 30, 30, "f")]


async def test_wakeups_that_are_due_are_one_message(gathering: Stage) -> None:
    """All shards that are to be swept now share a message, whenever their alarms were due. Each is in it once."""
    for shard, due_ms in (("1", -40_000), ("0", 0), ("0", -3_000), ("2", -500)):
        await gathering.ports.wakeups.sweep(shard, START_MS + due_ms)
    await gathering.ports.wakeups.aclose()
    assert gathering.sent == [wakeup(NOW_S, 0, "012")]


async def test_wakeups_that_go_on_are_apart_from_those_that_end(gathering: Stage) -> None:
    """The heartbeat's wake-ups go on for a minute, and no other shard goes on because of them.

    A shard that was asked for in both ways goes on, with one message.
    """
    wakeups = gathering.ports.wakeups
    for shard, until_s in (("0", NEXT_S), ("1", 0), ("2", NEXT_S), ("2", 0), ("1", 0)):
        await wakeups.sweep(shard, START_MS + 5_000, until_s)
    await wakeups.aclose()
    expected = [wakeup(NOW_S + 5, 5, "02", until=NEXT_S), wakeup(NOW_S + 5, 5, "1")]
    assert sorted(gathering.sent, key=str) == sorted(expected, key=str)


async def test_a_shard_with_much_to_do_has_a_message_of_its_own(gathering: Stage) -> None:
    """Otherwise one instance would sweep for all shards."""
    for shard, is_alone in (("0", False), ("1", True), ("2", False), ("3", True), ("0", False)):
        await gathering.ports.wakeups.sweep(shard, START_MS, is_alone=is_alone)
    await gathering.ports.wakeups.aclose()
    assert sorted(gathering.sent, key=str) == [wakeup(NOW_S, 0, shards) for shards in ("02", "1", "3")]


async def test_a_wakeup_that_was_gathered_is_sent_while_the_process_lives(gathering: Stage) -> None:
    """Nobody has to ask for the message. What is asked for after it is another message."""
    for count in (1, 2):
        await gathering.ports.wakeups.sweep("a", START_MS)

        async def is_sent(count: int = count) -> bool:
            return len(gathering.sent) == count

        await until(is_sent)
    assert gathering.sent == [wakeup(NOW_S, 0)] * 2


async def test_a_gathered_message_that_was_lost_is_sent_at_the_next_request(
    lossy: LossyProxy, connection_string: str
) -> None:
    """If the queue did not take a message, none of its shards counts as woken."""
    async with Stage(lossy.through(connection_string), gather_s=GATHER_S) as stage:
        lossy.lose(is_message)
        for count in (1, 2, 2):
            for shard in "ab":
                await stage.ports.wakeups.sweep(shard, START_MS + 2_000)

            async def is_sent(count: int = count) -> bool:
                return len(stage.sent) == count

            await until(is_sent)
        await stage.ports.wakeups.aclose()
        assert stage.sent == [wakeup(NOW_S + 2, 2, "ab")] * 2


# Lost


async def test_a_lost_wakeup_is_sent_when_it_is_requested_again(lossy: LossyProxy, connection_string: str) -> None:
    """A wake-up that the queue did not take is sent at the next request for it. One that it took is not sent again."""
    async with Stage(lossy.through(connection_string)) as stage:
        lossy.lose(is_message)
        for _ in range(3):
            await stage.ports.wakeups.sweep("a", START_MS + 2_000)
        assert stage.sent == [wakeup(NOW_S + 2, 2)] * 2


async def test_a_run_is_offered_at_once_for_one_epoch(stage: Stage) -> None:
    """The offer of a run is visible at once, and names only the response and the epoch of its next holder."""
    response_id = new_id()
    await stage.ports.wakeups.offer(response_id, 3)
    async with stage.queue(RUNS) as queue:
        message = await queue.receive_message()
    assert message is not None
    assert orjson.loads(message.content) == {"response": response_id, "epoch": 3}


async def test_queues_are_created_once(stage: Stage) -> None:
    """Preparing queues that exist raises nothing, and none is missing."""
    await stage.ports.wakeups.prepare()
    assert await stage.ports.wakeups.missing() == []


async def test_a_queue_that_is_missing_is_named(stage: Stage) -> None:
    """A queue that was deleted is missing until a hint is sent to it. Then it has the hint."""
    async with stage.queue(RUNS) as queue:
        await queue.delete_queue()
        assert await stage.ports.wakeups.missing() == [RUNS]
        await stage.ports.wakeups.offer(new_id(), 1)
        assert await stage.ports.wakeups.missing() == []
        assert await queue.receive_message() is not None


async def test_sending_never_raises(stage: Stage, connection_string: str) -> None:
    """Sending to a queue that cannot be reached raises nothing, because the table holds the same information.

    The check and the preparation of the queues raise StoreUnavailable.
    """
    dead = re.sub(r"(?<=QueueEndpoint=http://127.0.0.1:)\d+", str(free_port()), connection_string)
    lost = Stage(dead)
    async with AsyncExitStack() as opened:
        queues = {name: await opened.enter_async_context(lost.queue(name)) for name in HINTS}
        unreachable = Wakeups(queues, stage.clock.now_ms)
        opened.push_async_callback(unreachable.aclose)  # what is on its way would else meet a closed client
        await unreachable.sweep("a", START_MS)
        await unreachable.offer(new_id(), 1)
        with pytest.raises(StoreUnavailable):
            await unreachable.missing()
        with pytest.raises(StoreUnavailable):
            await unreachable.prepare()
