"""The opening of a call: which requests write a row, what they cost, and what stays a work of its own."""

from collections import Counter

import pytest

from shared.contract.requests import parse_request
from shared.core import keys
from shared.core.alarms import Alarm, Kind
from shared.core.ids import derived_id, shard_of
from shared.core.states import Status
from shared.foreground.clients import Client
from shared.foreground.opening import open_call
from shared.foreground.repeats import SPARE_MS
from shared.storage.table_client import Entity
from tests.support.foreground_calls import called
from tests.support.stage import ANN, Stage

ASKS = b'{"model": "m", "input": "question"}'
LOOK = "GET responses(key)"
OWNER = derived_id(b"same", b"ann", parse_request(ASKS).canonical_body())


async def row(stage: Stage) -> Entity | None:
    """Return the row of the request."""
    return await stage.ports.store.find(OWNER, keys.repeats_key(OWNER))


async def rows_alarms(stage: Stage) -> list[Alarm]:
    """Return the alarms of the row."""
    due = (await stage.ports.store.agenda(shard_of(OWNER), 10**13 - 1, 1_000)).due
    return [alarm for alarm in due if alarm.id == OWNER]


@pytest.mark.parametrize(
    ("client", "is_written"),
    [(Client(), False), (Client(retry_count=0), True), (Client(bounds_body=True), True)],
)
async def test_a_client_that_repeats_by_itself_leaves_a_row(stage: Stage, client: Client, is_written: bool) -> None:
    """It costs one request, and so does the look of any other client."""
    stage.upstream.first = Status.COMPLETED
    before = stage.proxy.counts.copy()
    await (await stage.engine.call(ANN, parse_request(ASKS), None, client)).end()
    spent = stage.proxy.counts - before
    assert spent == (Counter({"POST $batch": 3}) if is_written else Counter({"POST $batch": 2, LOOK: 1}))
    assert (await row(stage) is not None) is is_written


async def test_a_call_with_a_key_has_no_row(stage: Stage) -> None:
    """Its key says what repeats what."""
    stage.upstream.first = Status.COMPLETED
    made, _ = await called(stage.engine, ANN, parse_request(ASKS), "k")
    assert (await called(stage.engine, ANN, parse_request(ASKS), "k"))[0].id == made.id
    assert await row(stage) is None


async def test_a_repeat_with_its_members_in_another_order_joins(stage: Stage) -> None:
    """Codex has no retry count, and writes the members of `client_metadata` in another order on each try."""
    first = b'{"model":"m","input":"question","client_metadata":{"turn":"1","thread":"2"}}'
    again = b'{"model":"m","input":"question","client_metadata":{"thread":"2","turn":"1"}}'
    other = b'{"model":"m","input":"question","client_metadata":{"thread":"1","turn":"2"}}'
    codex = Client()
    left = await open_call(stage.ports, ANN, parse_request(first), None, codex)
    assert left.leaving
    await left.leaving.note()
    new = await open_call(stage.ports, ANN, parse_request(other), None, codex)
    joined = await open_call(stage.ports, ANN, parse_request(again), None, codex)
    assert new.record.id != left.record.id
    assert joined.record.id == left.record.id


async def test_a_first_try_that_comes_last_joins_its_repeats_once(stage: Stage) -> None:
    """A call that comes after it is new work, so the row has forgotten that it waited for a first try."""
    opened = [
        (await open_call(stage.ports, ANN, parse_request(ASKS), None, Client(retry_count=count))).record.id
        for count in (1, 2, 0, 0)
    ]
    assert opened[0] == opened[1] == opened[2] != opened[3]


async def test_a_row_is_removed_when_nobody_can_repeat_any_more(stage: Stage) -> None:
    """It names younger work by now, so its alarm waits for that."""
    stage.upstream.first = Status.COMPLETED
    sdk = Client(retry_count=0)
    await (await stage.engine.call(ANN, parse_request(ASKS), None, sdk)).end()
    (alarm,) = await rows_alarms(stage)
    assert (alarm.kind, alarm.due_ms) == (Kind.PURGE, stage.clock.ms + 4 * 3_600_000 + SPARE_MS)
    stage.clock.advance(3_600)
    await (await stage.engine.call(ANN, parse_request(ASKS), None, sdk)).end()
    stage.clock.ms = alarm.due_ms
    await stage.sweep(OWNER)
    assert await row(stage)
    (alarm,) = await rows_alarms(stage)
    stage.clock.ms = alarm.due_ms
    await stage.sweep(OWNER)
    assert (await row(stage), await rows_alarms(stage)) == (None, [])
