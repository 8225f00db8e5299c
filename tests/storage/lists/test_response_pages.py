"""The list of a caller's responses, on real storage."""

import random
from typing import Any

import pytest

from shared.core.errors import BadRequest, RefusedByUpstream, UpstreamRefused, UpstreamUnavailable
from shared.core.records import Record
from shared.core.states import Status
from shared.lists import response_pages
from shared.lists.queries import cursor_to, parse_responses
from shared.lists.ranges import Bounds
from shared.lists.views import ListView
from tests.support.stage import ANN, BOB, Stage

ORDERS = pytest.mark.parametrize("order", ["desc", "asc"])


async def listed(stage: Stage, **query: str) -> ListView:
    """Return a page of ann's responses."""
    return await stage.engine.lists.responses(ANN, parse_responses(query))


async def walked(stage: Stage, **query: str) -> list[dict[str, Any]]:
    """Return the items of all pages."""
    found: list[dict[str, Any]] = []
    page = await listed(stage, **query)
    found += page["data"]
    while page["next_after"]:
        page = await listed(stage, **query, after=page["next_after"])
        found += page["data"]
    assert page["has_more"] is False
    return found


async def made(stage: Stage, count: int) -> list[Record]:
    """Return responses that were created at different times, but some in the same millisecond."""
    records = []
    for n in range(count):
        records.append(await stage.create())
        stage.clock.ms += (n % 3) * 7_000
    return records


def names(items: list[dict[str, Any]]) -> list[str]:
    """Return the ids of items."""
    return [item["id"] for item in items]


def in_order(records: list[Record], order: str) -> list[str]:
    """Return the ids of records as a list has them."""
    ordered = sorted(records, key=lambda record: (-record.created_ms, record.id))
    return [record.id for record in (ordered if order == "desc" else ordered[::-1])]


# Pages


@ORDERS
@pytest.mark.parametrize("limit", ["1", "4", "100"])
async def test_every_response_is_on_exactly_one_page(stage: Stage, order: str, limit: str) -> None:
    """Whether it has ended or not. Other callers have lists of their own."""
    await stage.create(BOB)
    records = [*await made(stage, 9), await stage.ended(), await stage.ended(stream=True)]
    assert names(await walked(stage, order=order, limit=limit)) == in_order(records, order)
    theirs = await stage.engine.lists.responses(BOB, parse_responses({}))
    assert not {*names(theirs["data"])} & {*names(await walked(stage))}


@ORDERS
async def test_a_page_goes_on_behind_an_id(stage: Stage, order: str) -> None:
    """As in OpenAI's lists, where `after` is the `last_id` of the page before."""
    expected = in_order(await made(stage, 7), order)
    first = await listed(stage, order=order, limit="3")
    assert (first["first_id"], first["last_id"], first["has_more"]) == (expected[0], expected[2], True)
    second = await listed(stage, order=order, limit="10", after=expected[2])
    assert (names(second["data"]), second["has_more"], second["next_after"]) == (expected[3:], False, None)


@pytest.mark.parametrize("after", ["resp_" + "0" * 32, "x", "1800000000000", "a-response-of-bob"])
async def test_a_page_behind_nothing_is_refused(stage: Stage, after: str) -> None:
    """A response of another caller is nothing."""
    theirs = await stage.create(BOB)
    with pytest.raises(BadRequest, match="'next_after'") as refused:
        await listed(stage, after=theirs.id if after == "a-response-of-bob" else after)
    assert refused.value.param == "after"


@ORDERS
async def test_pages_are_whole_while_responses_end_and_are_deleted(stage: Stage, order: str) -> None:
    """Whatever exists from the first page to the last is on exactly one, however it moves meanwhile."""
    rng = random.Random(7)
    records = await made(stage, 12)
    stage.upstream.course = [Status.COMPLETED]
    deleted: set[str] = set()
    page = await listed(stage, order=order, limit="2")
    seen = names(page["data"])
    while page["next_after"]:
        one, other = rng.sample(records, 2)
        await stage.engine.cancel(ANN, one.id) if one.id not in deleted else None
        if other.id not in deleted and (await stage.record(other.id)).status.is_terminal:
            await stage.engine.delete(ANN, other.id)
            deleted.add(other.id)
        await stage.create()
        page = await listed(stage, order=order, limit="2", after=page["next_after"])
        seen += names(page["data"])
    assert len(seen) == len(set(seen))
    assert {record.id for record in records} - deleted <= set(seen)


async def test_a_cursor_stays_good_when_its_response_is_gone(stage: Stage) -> None:
    """`next_after` names a place, and an id that is gone names nothing."""
    expected = in_order([await stage.ended() for _ in range(4)], "desc")
    page = await listed(stage, limit="2")
    await stage.engine.delete(ANN, expected[1])
    while await stage.alarms(expected[1]):
        await stage.fire_alarms(expected[1])
    assert names((await listed(stage, after=page["next_after"] or ""))["data"]) == expected[2:]
    with pytest.raises(BadRequest):
        await listed(stage, after=expected[1])


# What is listed


@ORDERS
@pytest.mark.parametrize("status", [*Status])
async def test_a_list_has_one_status(stage: Stage, order: str, status: Status) -> None:
    """Each response is in the list of its status, and in no other."""
    made_with = {record.status: record for record in [await stage.create(), await stage.ended()]}
    made_with[Status.CANCELLED] = (await stage.engine.cancel(ANN, (await stage.create()).id))[0]
    expected = [made_with[status].id] if status in made_with else []
    assert names(await walked(stage, order=order, status=status)) == expected


@ORDERS
async def test_a_list_has_one_model_or_one_time(stage: Stage, order: str) -> None:
    """Both filters can be combined."""
    old, other = await stage.create(), await stage.create(model="other")
    stage.clock.ms += 60_000
    young = await stage.create()
    since = str(old.created_ms // 1000 + 1)
    assert names(await walked(stage, order=order, model="other")) == [other.id]
    assert names(await walked(stage, order=order, created_after=since)) == [young.id]
    assert names(await walked(stage, order=order, created_after=since, model="other")) == []


async def test_a_list_says_what_a_response_waits_for_and_how_it_ended(stage: Stage) -> None:
    """Each change of the record is in its entry at once, because both are one transaction."""
    stage.upstream.start_errors = [UpstreamUnavailable("ConnectError")]
    record = await stage.create(metadata={"team": "blue"})
    (item,) = (await listed(stage))["data"]
    shown = await stage.shown(record.id)
    assert (item["waiting"], item["metadata"]) == (shown["waiting"], {"team": "blue"})
    await stage.fire_alarms(record.id)
    (item,) = (await listed(stage))["data"]
    assert "waiting" not in item
    await stage.finish(record.id)
    (item,) = (await listed(stage))["data"]
    shown = await stage.shown(record.id)
    assert item == {name: shown[name] for name in item}


async def test_a_deleted_response_is_not_listed(stage: Stage) -> None:
    """From the delete on, although its rows are there until they are purged."""
    kept, gone = await stage.ended(), await stage.ended()
    await stage.engine.delete(ANN, gone.id)
    assert (await stage.record(gone.id)).deleted
    assert names(await walked(stage)) == names(await walked(stage, order="asc")) == [kept.id]


async def test_a_refused_response_is_not_listed(stage: Stage) -> None:
    """Its rows are removed before the caller has the refusal."""
    stage.upstream.start_errors = [UpstreamRefused(400, "No such model.")]
    with pytest.raises(RefusedByUpstream):
        await stage.create()
    assert await walked(stage) == []


# Bounds


@ORDERS
async def test_a_filter_that_matches_little_gives_short_pages(stage: Stage, order: str) -> None:
    """A page reads so many rows and no more. The caller goes on behind it, and misses nothing."""
    few = Bounds(most_rows=8, rows_a_query=2, rows_a_window=2)
    wanted = []
    for n in range(24):
        record = await stage.create(key=f"key-{n}", model="rare" if n % 8 == 5 else "m", input="x")
        wanted += [record] if record.request.model == "rare" else []
        stage.clock.ms += 10_000
    found, after, pages = list[str](), "", 0
    while after or not pages:
        query = parse_responses({"model": "rare", "order": order} | ({"after": after} if after else {}))
        page = await response_pages.list_responses(stage.ports, ANN.name, query, few)
        found += [entry.id for entry in page.entries]
        after, pages = cursor_to(page.next_place) if page.next_place else "", pages + 1
    assert found == in_order(wanted, order)


async def test_sparse_responses_are_on_one_page_oldest_first(stage: Stage) -> None:
    """A month with one response a day is no reason for an empty page."""
    records = []
    for _ in range(30):
        records.append(await stage.ended())
        stage.clock.advance(86_400)
    page = await listed(stage, order="asc", limit="100")
    assert (names(page["data"]), page["next_after"]) == (in_order(records, "asc"), None)
    first = await listed(stage, order="asc")
    assert len(first["data"]) == 20


async def test_what_another_process_has_accepted_is_listed_oldest_first(stage: Stage) -> None:
    """Its clock may be ahead."""
    stage.clock.advance(5)
    record = await stage.create()
    stage.clock.advance(-5)
    assert names(await walked(stage, order="asc")) == [record.id]
