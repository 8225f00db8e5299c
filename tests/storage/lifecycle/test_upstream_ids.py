"""Upstream ids: they lead from an upstream's id to our response, and an end that is announced early is not lost."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from shared.contract import signatures
from shared.core.alarms import Kind
from shared.core.errors import StoreUnavailable
from shared.core.keys import upstream_key, upstream_owner
from shared.core.records import Record
from shared.core.states import Status
from shared.lifecycle.upstream_ids import MARK_MS, SPARE_MS, TARGET, purge, register, response_of
from tests.support.clocks import START_MS
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import SECRET, Stage

THEIRS = "up_of_somebody"


@pytest.fixture(autouse=True)
def webhooks_enabled(stage: Stage) -> None:
    """Let the upstream send webhooks, and let its work end only when the test says so."""
    stage.treat(webhook_secrets=(SECRET,))
    stage.upstream.course = [Status.IN_PROGRESS]


@pytest.fixture
async def record(stage: Stage) -> Record:
    """Return the record of a response that was accepted."""
    stage.treat(webhook_secrets=())
    record = await stage.create()
    stage.treat(webhook_secrets=(SECRET,))
    return record


async def row_of(stage: Stage, upstream_id: str) -> dict[str, str] | None:
    """Return the row of an upstream's id, or None."""
    owner = upstream_owner(upstream_id)
    return await stage.ports.store.find(owner, upstream_key(owner))


async def announce(stage: Stage, upstream_id: str) -> None:
    """End work upstream, and let the upstream send its webhook."""
    if upstream_id in stage.upstream.works:
        stage.upstream.works[upstream_id].course = [Status.COMPLETED]
    body = orjson.dumps({"type": "response.completed", "data": {"id": upstream_id}})
    headers = signatures.signed_headers([SECRET], "wh_1", stage.clock.ms // 1000, body)
    await stage.engine.receive_webhook(headers, body)


# Finding the response


async def test_a_registered_id_leads_to_its_response(stage: Stage, record: Record) -> None:
    """Once an upstream's id is registered, its response is found by it. Its end was not announced before."""
    assert await register(stage.ports, record, THEIRS) is False
    assert await response_of(stage.ports, stage.ports.upstreams.routes[0], THEIRS) == await stage.record(record.id)
    assert await response_of(stage.ports, stage.ports.upstreams.routes[0], THEIRS + "x") is None


async def test_an_event_about_a_registered_id_writes_nothing(stage: Stage, record: Record) -> None:
    """Its row is looked up before a mark is tried, which would be refused."""
    await register(stage.ports, record, THEIRS)
    before = stage.proxy.counts.copy()
    assert await response_of(stage.ports, stage.ports.upstreams.routes[0], THEIRS)
    assert {kind.partition(" ")[0] for kind in stage.proxy.counts - before} == {"GET"}


async def test_a_repeated_registration_changes_nothing(stage: Stage, record: Record) -> None:
    """An id may be registered again by a start that is repeated. It is not taken for an announced end."""
    for _ in range(3):
        assert await register(stage.ports, record, THEIRS) is False
    found = await response_of(stage.ports, stage.ports.upstreams.routes[0], THEIRS)
    assert found
    assert found.id == record.id


async def test_an_id_stays_with_its_first_response(stage: Stage, record: Record) -> None:
    """If two responses register the same id, it stays with the first one."""
    other = await stage.create()
    await register(stage.ports, record, THEIRS)
    assert await register(stage.ports, other, THEIRS) is False
    found = await response_of(stage.ports, stage.ports.upstreams.routes[0], THEIRS)
    assert found
    assert found.id == record.id


async def test_a_response_that_was_purged_is_not_found(stage: Stage, record: Record) -> None:
    """The id of a response that has been removed leads to nothing."""
    await register(stage.ports, record, THEIRS)
    (poll,) = await stage.alarms(record.id)
    await stage.ports.store.remove_all(record, poll.key)
    assert await response_of(stage.ports, stage.ports.upstreams.routes[0], THEIRS) is None


async def test_nothing_is_registered_without_webhooks(stage: Stage, record: Record) -> None:
    """If the upstream sends no webhooks, its ids are not registered and storage is not called."""
    stage.treat(webhook_secrets=())
    before = stage.proxy.counts.copy()
    assert await register(stage.ports, record, THEIRS) is False
    assert stage.proxy.counts == before


# An end that is announced early


@pytest.mark.parametrize("times", [1, 3])
async def test_a_registration_finds_that_the_end_was_announced(stage: Stage, record: Record, times: int) -> None:
    """A webhook about an unknown id leaves a mark, also several times. The registration of the id finds it once."""
    for _ in range(times):
        assert await response_of(stage.ports, stage.ports.upstreams.routes[0], THEIRS) is None
    assert await register(stage.ports, record, THEIRS) is True
    assert await response_of(stage.ports, stage.ports.upstreams.routes[0], THEIRS) == await stage.record(record.id)
    assert await register(stage.ports, record, THEIRS) is False


async def test_each_of_two_registrations_at_once_finds_the_announced_end(stage: Stage, record: Record) -> None:
    """One of the two writes is refused, as the repeat of a write is whose answer was lost. Both have seen the mark."""
    await response_of(stage.ports, stage.ports.upstreams.routes[0], THEIRS)
    stage.proxy.delay(lambda request: request.method == "GET", 0.5)
    assert await asyncio.gather(*(register(stage.ports, record, THEIRS) for _ in range(2))) == [True, True]


async def test_of_a_registration_and_a_webhook_at_once_one_finds_the_other(stage: Stage, record: Record) -> None:
    """If a registration and a webhook overlap, the webhook finds the response, or the registration finds the mark."""
    other = replace(await stage.new_ports(stage.clock), config=stage.ports.config)
    for n in range(20):
        first, second = (stage.ports, other) if n % 2 else (other, stage.ports)
        announced, found = await asyncio.gather(
            register(first, record, f"up{n}"), response_of(second, second.upstreams.routes[0], f"up{n}")
        )
        assert announced or found
        known = await response_of(stage.ports, stage.ports.upstreams.routes[0], f"up{n}")
        assert known
        assert known.id == record.id


async def test_an_event_before_the_create_is_answered_is_not_lost(stage: Stage) -> None:
    """If a webhook comes before the create's answer, the first poll is due at once."""
    gate = stage.upstream.hold_starts()
    creating = asyncio.create_task(stage.create())
    await gate.reached.wait()
    (token,) = stage.upstream.works
    await announce(stage, token)
    gate.open()
    record = await creating
    assert record.upstream.token == token
    await stage.fire_alarms(record.id)
    ended = await stage.record(record.id)
    assert (ended.status, stage.clock.ms) == (Status.COMPLETED, START_MS)


async def test_an_event_between_the_two_writes_is_not_lost(stage: Stage) -> None:
    """A webhook may come after the upstream's id is registered and before the record has it.

    The record is then marked, and its first poll is due at once.
    """
    gate = stage.upstream.hold_starts()
    creating = asyncio.create_task(stage.create())
    await gate.reached.wait()
    (token,) = stage.upstream.works
    (accepted,) = stage.upstream.starts
    await register(stage.ports, await stage.record(accepted), token)
    await announce(stage, token)
    assert (await stage.record(accepted)).upstream.end_announced
    gate.open()
    record = await creating
    await stage.fire_alarms(record.id)
    assert (await stage.record(record.id)).ended_ms == START_MS


async def test_a_crash_between_the_two_writes_is_repaired(stage: Stage) -> None:
    """If a process crashes between the two writes, the start is repeated and finds the id registered."""
    gate = stage.upstream.hold_starts()
    creating = asyncio.create_task(stage.create())
    await gate.reached.wait()
    (token,) = stage.upstream.works
    (accepted,) = stage.upstream.starts
    await register(stage.ports, await stage.record(accepted), token)
    creating.cancel()
    stage.upstream.start_gate = None
    await stage.fire_alarms(accepted)
    record = await stage.record(accepted)
    assert record.upstream.token == token
    await announce(stage, token)
    assert (await stage.record(accepted)).status is Status.COMPLETED


# Storage that fails


async def test_an_id_that_cannot_be_registered_is_an_error(stage: Stage, record: Record) -> None:
    """If storage does not confirm a registration, StoreUnavailable is raised, so that the start is repeated.

    The repeat finds the id, whether it was written or not.
    """
    lost = stage.proxy.drop_answer(is_transaction)
    with pytest.raises(StoreUnavailable):
        await register(stage.ports, record, THEIRS)
    assert lost.happened.is_set()
    async with stage.proxy.refusing():
        with pytest.raises(StoreUnavailable):
            await register(stage.ports, record, THEIRS)
        with pytest.raises(StoreUnavailable):
            await response_of(stage.ports, stage.ports.upstreams.routes[0], THEIRS)
    assert await register(stage.ports, record, THEIRS) is False
    assert await response_of(stage.ports, stage.ports.upstreams.routes[0], THEIRS) == await stage.record(record.id)


# How long ids are kept


async def test_a_row_is_in_the_shard_of_its_id_with_an_alarm_that_removes_it(stage: Stage, record: Record) -> None:
    """The row of an id is kept until an hour after the response's deadline, and a mark for ten minutes."""
    await register(stage.ports, record, THEIRS)
    await response_of(stage.ports, stage.ports.upstreams.routes[0], "up_unknown")
    for upstream_id, until_ms in ((THEIRS, record.deadline_ms + SPARE_MS), ("up_unknown", START_MS + MARK_MS)):
        (alarm,) = await stage.alarms(upstream_owner(upstream_id))
        assert (alarm.kind, alarm.target, alarm.due_ms) == (Kind.PURGE, TARGET, until_ms)
    assert (SPARE_MS, MARK_MS) == (3_600_000, 600_000)


async def test_a_purge_removes_the_row_and_its_alarm(stage: Stage, record: Record) -> None:
    """A purge removes the row of an id and the alarm. It may be repeated, and the response stays."""
    await register(stage.ports, record, THEIRS)
    (alarm,) = await stage.alarms(upstream_owner(THEIRS))
    for _ in range(2):
        await purge(stage.ports, alarm)
    assert await row_of(stage, THEIRS) is None
    assert await stage.alarms(upstream_owner(THEIRS)) == []
    assert await stage.record(record.id) == record


async def test_an_event_about_unknown_work_is_forgotten_after_ten_minutes(stage: Stage) -> None:
    """A webhook about unknown work leaves a mark that is removed after ten minutes.

    The upstream's account may have other users.
    """
    await announce(stage, "resp_of_somebody_else")
    name = upstream_owner("resp_of_somebody_else")
    assert await stage.ports.store.find(name, upstream_key(name))
    stage.clock.ms += MARK_MS
    await stage.sweep(name)
    assert await stage.ports.store.find(name, upstream_key(name)) is None
    assert await stage.alarms(name) == []


async def test_the_ids_of_ended_work_are_removed(stage: Stage) -> None:
    """The row of an upstream's id is removed after the response's deadline, with its alarm."""
    record = await stage.create()
    name = upstream_owner(str(record.upstream.token))
    assert await stage.kinds(name) == [Kind.PURGE]
    stage.clock.ms = (await stage.alarms(name))[0].due_ms
    assert stage.clock.ms > record.deadline_ms
    await stage.sweep(name)
    assert await stage.ports.store.find(name, upstream_key(name)) is None
