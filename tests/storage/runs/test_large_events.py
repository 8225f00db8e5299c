"""Large events of an upstream: each is looked through for credentials in a thread, and the loop serves others."""

import pytest

from shared.core.blobs import expand
from shared.core.event_log import Event, batch_key_before
from shared.core.records import Target
from shared.core.states import Status
from shared.deliveries.sending import send_event
from shared.runs import claims
from shared.runs.lease import RunLease
from shared.runs.log_writer import LogWriter
from shared.runs.tail import events_of
from tests.support.fakes.streams import story
from tests.support.stage import CALLBACK_URL, Stage
from tests.support.stream_clients import streamed
from tests.support.threads import counted_threads

DONE = "response.output_item.done"


def done(result: str) -> Event:
    """Return the event of a finished item."""
    return Event(DONE, b'{"type":"%b","output_index":0,"item":{"result":"%b"}}' % (DONE.encode(), result.encode()))


async def held_run(stage: Stage, *, stream: bool) -> RunLease:
    """Return the lease of a run that this process holds."""
    stage.upstream.is_background = False
    made = await stage.create(stream=stream)
    claimed = await claims.claim(stage.ports, made.id, 1)
    assert claimed
    return RunLease(stage.ports, *claimed)


@pytest.mark.parametrize(("values", "count"), [(1_000, 0), (100_000, 2)])
async def test_an_event_of_many_values_does_not_hold_the_loop(stage: Stage, values: int, count: int) -> None:
    """The first one takes no time, and half a million values take a second. Then its row is packed."""
    events = stage.upstream.streams.events = story(2)
    events[2:2] = [{"type": "acme:note", "values": [[0]] * values}]
    with counted_threads() as threads:
        received = await (await streamed(stage)).rest()
    assert any(len(one.get("values", ())) == values for _, one in received)
    assert threads.count == count


@pytest.mark.parametrize(("size", "count"), [(1_000, 0), (1_000_000, 1)])
async def test_a_finished_item_is_read_and_packed_in_a_thread(stage: Stage, size: int, count: int) -> None:
    """An image in base64 would take the loop for a second. Without an event log its item is kept for the end."""
    lease = await held_run(stage, stream=False)
    log = LogWriter(stage.ports, lease, None)
    with counted_threads() as threads:
        await log.append(done("a" * size), 1, Status.IN_PROGRESS)
    assert (threads.count, lease.items.items) == (count, [{"result": "a" * size}])


@pytest.mark.parametrize(("size", "count"), [(1_000, 0), (1_000_000, 1)])
async def test_the_rows_of_large_events_are_packed_in_a_thread(stage: Stage, size: int, count: int) -> None:
    """They are ready before the transaction is planned, which may have to be planned again."""
    lease = await held_run(stage, stream=True)
    log = LogWriter(stage.ports, lease, None)
    await log.append(done("a" * size), 1, Status.IN_PROGRESS)
    with counted_threads() as threads:
        await log.flush()
    page = await stage.ports.store.log(lease.record.id, batch_key_before(lease.record.id, -1))
    assert (threads.count, len(expand(page.batches[-1].packed)) > size) == (count, True)


async def test_a_large_event_is_read_from_the_log_in_a_thread(stage: Stage) -> None:
    """Once for a reader of its own, and once for those that follow the log together."""
    lease = await held_run(stage, stream=True)
    log = LogWriter(stage.ports, lease, None)
    await log.append(done("a" * 1_000_000), 1, Status.IN_PROGRESS)
    await log.flush()
    page = await stage.ports.store.log(lease.record.id, batch_key_before(lease.record.id, -1))
    with counted_threads() as threads:
        found = [event for batch in page.batches for event in await events_of(lease.record, batch)]
    assert (threads.count, [event.kind for event in found]) == (1, ["response.created", DONE])


@pytest.mark.parametrize(("size", "count"), [(1_000, 0), (1_000_000, 3)])
async def test_the_event_of_a_large_response_is_written_and_signed_in_threads(
    stage: Stage, size: int, count: int
) -> None:
    """The response is read, its event written, and that signed."""
    answer = stage.upstream._answer
    stage.upstream._answer = lambda work: {**answer(work), "note": "a" * size}  # type: ignore[method-assign]
    record = await stage.ended(callback_url=CALLBACK_URL)
    await stage.deliver()
    delivery = record.delivery(Target.CALLBACK)
    assert delivery
    with counted_threads() as threads:
        await send_event(stage.ports, record, delivery, 1)
    assert threads.count == count
    assert len(stage.receiver.posts[-1].body) > size
