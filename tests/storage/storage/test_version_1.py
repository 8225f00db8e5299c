"""Rows and messages of format version 1 can be read, and so can rows of a newer version with unknown members.

The files in version_1/ were written by the last commit before row versions. Each holds the whole storage of one service
at a moment in the life of a response.
"""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from shared.contract import signatures
from shared.core.alarms import alarm_of
from shared.core.errors import NotFound
from shared.core.ids import shard_of
from shared.core.states import DeliveryState, RunState, Status
from shared.lists.queries import RecoveryQuery
from shared.starts.queue_intake import QueueMessage
from shared.storage.messages import (
    DELIVERIES,
    POISON,
    REQUESTS,
    RUNS,
    WAKEUPS,
    DeliverNow,
    QueuedRequest,
    RunOffer,
    Wakeup,
)
from tests.support.fakes.agents import AGENT, Weather, rainy, spoken
from tests.support.fakes.streams import story
from tests.support.stage import ANN, CALLBACK_URL, SECRET, Stage
from tests.support.stored_rows import Json, Storage, with_unknown_members
from tests.support.stream_clients import QUICK, expected_lines, kinds, lines_of, numbers, replayed, text

FOLDER = Path(__file__).parent / "version_1"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "messages")
OPEN = ["polled", "not_started", "foreground_not_stored", "queued_request", "upstream_webhook_expected"]
ENDED = ["delivery_claimed", "delivery_failed", "delivery_retried", "large_result", "stream_ended"]


@pytest.fixture(params=["version 1", "newer"])
def change(request: pytest.FixtureRequest) -> Callable[[Json], Json]:
    """Return how rows are changed before they are written: not at all, or as a newer version may write them."""
    return dict if request.param == "version 1" else with_unknown_members


async def restored(stage: Stage, name: str, change: Callable[[Json], Json]) -> Storage:
    """Restore the storage of a file, and return it."""
    storage = Storage.load(FOLDER / f"{name}.json")
    stage.pace(**QUICK)
    await storage.restore(stage, change)
    return storage


async def drive(stage: Stage, response_id: str) -> None:
    """Let alarms fire and processes drive the run until the response has ended."""
    for _ in range(10):
        record = await stage.record(response_id)
        if record.status.is_terminal:
            return
        if record.run.claimed or not stage.sent:
            await stage.fire_alarms(response_id)
        await stage.engine.drive(RunOffer(response_id, (await stage.record(response_id)).run.epoch))
    raise AssertionError("the response does not end")


async def keys(stage: Stage) -> list[str]:
    """Return the keys of all rows."""
    return [row["RowKey"] async for row in (await stage.table()).list_entities()]


@pytest.mark.parametrize("name", OPEN)
async def test_an_open_response_goes_on(stage: Stage, name: str, change: Callable[[Json], Json]) -> None:
    """An open response is shown and completes, and its event reaches each target."""
    storage = await restored(stage, name, change)
    await stage.shown(storage.id)
    record = await stage.finish(storage.id)
    assert record.status is Status.COMPLETED
    shown = await stage.shown(storage.id)
    assert shown["output"][0]["content"][0]["text"].startswith("question answered")
    await stage.deliver()
    receivers = {CALLBACK_URL: stage.receiver, "replies-1": stage.replies}
    wanted = [address for address in (record.request.callback_url, record.request.reply_to) if address]
    assert [post.address for address in wanted for post in receivers[address].posts] == wanted


@pytest.mark.parametrize("name", ENDED)
async def test_an_ended_response_is_shown_and_its_event_delivered(
    stage: Stage, name: str, change: Callable[[Json], Json]
) -> None:
    """An ended response is shown with its attempts so far, and its open or failed delivery succeeds."""
    storage = await restored(stage, name, change)
    assert (await stage.shown(storage.id))["status"] == "completed"
    before = await stage.engine.deliveries(ANN, storage.id)
    attempts = sum("|attempt|" in row["RowKey"] for row in storage.rows)
    assert sum(len(one["attempts"]) for one in before["data"]) == attempts
    if name == "delivery_failed":
        await stage.engine.recover(ANN, RecoveryQuery(0))
    await stage.run_out(storage.id)
    record = await stage.record(storage.id)
    assert {one.state for one in record.deliveries} == {DeliveryState.DELIVERED}
    (post,) = stage.receiver.posts
    assert orjson.loads(post.body)["data"]["status"] == "completed"


@pytest.mark.parametrize(("name", "first"), [("stream_held", 0), ("stream_offered", 0), ("stream_restarted", 3)])
async def test_a_run_goes_on_and_its_log_is_read(
    stage: Stage, name: str, first: int, change: Callable[[Json], Json]
) -> None:
    """A process claims the run and resumes the upstream's stream. A reader gets every event once, in order."""
    storage = await restored(stage, name, change)
    await drive(stage, storage.id)
    received = await replayed(stage, storage.id)
    if name == "stream_restarted":
        assert kinds(received)[:2] == ["created", "in_progress"]
        assert numbers(received)[:2] == [0, first]
    else:
        assert lines_of(received) == expected_lines(story(6))
    assert text(received) == "d0d1d2d3d4d5"


def with_credentials(row: Json) -> Json:
    """Return a row in whose object or events the version has kept a credential of the request."""
    tools = [{"type": "mcp", "server_label": "crm", "authorization": "geheim-0123456789"}]
    changed = dict(row)
    for column in ("body", "p0"):
        if column not in row or "|input|" in row["RowKey"]:
            continue
        lines = zlib.decompress(b64decode(row[column]["base64"])).split(b"\n")
        packed = zlib.compress(b"\n".join(_with_tools(line, tools) for line in lines))
        changed[column] = {"base64": b64encode(packed).decode()}
    return changed


def _with_tools(line: bytes, tools: list[Json]) -> bytes:
    kind, brace, rest = line.partition(b"{")
    shown = orjson.loads(brace + rest)
    (shown["response"] if isinstance(shown.get("response"), dict) else shown)["tools"] = tools
    return kind + orjson.dumps(shown)


@pytest.mark.parametrize("name", ["stream_ended", "delivery_failed"])
async def test_a_credential_that_was_stored_leaves_nowhere(stage: Stage, name: str) -> None:
    """Version 1 stored the credentials of a request with its object and its events. They are masked when they leave."""
    storage = await restored(stage, name, with_credentials)
    left: list[object] = [await stage.shown(storage.id)]
    if name == "stream_ended":
        left += [await replayed(stage, storage.id), await replayed(stage, storage.id, 2)]
    else:
        await stage.engine.recover(ANN, RecoveryQuery(0))
    await stage.run_out(storage.id)
    left += [post.body for post in (*stage.receiver.posts, *stage.replies.posts)]
    assert len(left) > 1
    assert [("geheim" in str(one), "***" in str(one)) for one in left] == [(False, True)] * len(left)


async def test_an_agent_resumes_after_its_checkpoint(stage: Stage, change: Callable[[Json], Json]) -> None:
    """An agent resumes after its checkpoint and does not call the tool again whose result was saved."""
    tool = Weather()
    rainy(stage, tool)
    storage = await restored(stage, "agent_with_checkpoint", change)
    await drive(stage, storage.id)
    shown = await stage.shown(storage.id)
    assert (shown["status"], spoken(shown), tool.asked) == ("completed", "It rains.", [])
    assert shown["output"][1]["output"] == "rain in Bonn"


async def test_a_session_is_continued(stage: Stage, change: Callable[[Json], Json]) -> None:
    """The agent of the next response receives what was said before."""
    script = rainy(stage, Weather())
    storage = await restored(stage, "agent_session", change)
    assert spoken(await stage.shown(storage.id)) == "It rains."
    made = await stage.create(model=AGENT, input="And now?", previous_response_id=storage.id)
    await stage.engine.drive(RunOffer(made.id, 1))
    assert (script.asked[0][0], script.asked[0][-1]) == ("question", "And now?")


async def test_work_is_stopped_after_a_cancel(stage: Stage, change: Callable[[Json], Json]) -> None:
    """A stop that the upstream did not confirm is repeated."""
    storage = await restored(stage, "cancelled_not_stopped", change)
    assert (await stage.shown(storage.id))["status"] == "cancelled"
    await stage.fire_alarms(storage.id)
    assert stage.upstream.stopped == [storage.works[0]["token"]]


async def test_a_webhook_ends_its_response(stage: Stage, change: Callable[[Json], Json]) -> None:
    """A webhook finds its response through the row of the upstream's id."""
    storage = await restored(stage, "upstream_webhook_expected", change)
    stage.treat(webhook_secrets=(SECRET,))
    stage.upstream.works[storage.works[0]["token"]].course = [Status.COMPLETED]
    body = storage.webhook.encode()
    await stage.engine.receive_webhook(signatures.signed_headers([SECRET], "wh_1", stage.clock.ms // 1000, body), body)
    await stage.fire_alarms(storage.id)
    assert (await stage.record(storage.id)).status is Status.COMPLETED


@pytest.mark.parametrize("name", NAMES)
async def test_every_row_is_removed_in_the_end(stage: Stage, name: str, change: Callable[[Json], Json]) -> None:
    """After the retention no row is left, whatever the storage held."""
    rainy(stage, Weather())
    storage = await restored(stage, name, change)
    while (first := min((row for row in await keys(stage) if row.startswith("alarm|")), default=None)) is not None:
        alarm = alarm_of(first)
        stage.clock.ms = max(stage.clock.ms, alarm.due_ms)
        await stage.sweep(alarm.id)
        record = await stage.ports.store.read(storage.id)
        if record and record.run.state is RunState.OFFERED and not record.status.is_terminal:
            await stage.engine.drive(RunOffer(storage.id, record.run.epoch))
    assert [key for key in await keys(stage) if not key.startswith("usage|")] == []


async def test_a_deleted_response_stays_deleted(stage: Stage, change: Callable[[Json], Json]) -> None:
    """A deleted response is not found by its caller, because its tombstone is read."""
    storage = await restored(stage, "deleted_not_purged", change)
    with pytest.raises(NotFound):
        await stage.shown(storage.id)


async def test_a_change_keeps_the_members_of_a_newer_version(stage: Stage) -> None:
    """When this version changes a record, it keeps the members that it does not know."""
    storage = await restored(stage, "delivery_retried", with_unknown_members)
    await stage.fire_alarms(storage.id)
    table = await stage.table()
    row = await table.get_entity(shard_of(storage.id), f"resp|{storage.id}")
    facts = orjson.loads(row["facts"])
    assert (row["colour"], facts["row_version"], facts["colour"]) == ("red", 7, {"of": ["a", {"b": None}]})
    assert [(one["colour"], one["size"], one["state"]) for one in facts["deliveries"]] == [
        ("blue", {"c": 2}, "delivered"),
        ("blue", {"c": 2}, "delivered"),
    ]


# Messages


def test_an_offer_is_read() -> None:
    """The offer of a run is read. It names its response in another member since, so it is not written as it was."""
    (content,) = Storage.load(FOLDER / "messages.json").sent(RUNS)
    assert RunOffer.decode(orjson.dumps(content | {"colour": "red"})) == RunOffer(content["id"], content["epoch"])


def test_a_wakeup_is_read() -> None:
    """A wake-up is read. It names several shards in another member since, so it is not written as it was."""
    sent = Storage.load(FOLDER / "messages.json").sent(WAKEUPS)
    assert sent
    for content in sent:
        expected = Wakeup(content["shard"], content["at"], content.get("until", 0))
        assert Wakeup.decode(orjson.dumps(content | {"colour": "red"})) == expected


def test_a_delivery_message_is_read() -> None:
    """It names an alarm. Nobody writes such a message any more."""
    sent = Storage.load(FOLDER / "messages.json").sent(DELIVERIES)
    assert sent
    for content in sent:
        assert DeliverNow.decode(orjson.dumps(content | {"colour": "red"})) == DeliverNow(content["alarm"])


async def test_a_queued_request_is_taken(stage: Stage) -> None:
    """A queued request is accepted as its sender sent it and as the service returned it to its queue."""
    contents = Storage.load(FOLDER / "messages.json").sent(REQUESTS)
    assert [bool(content.get("returned")) for content in contents] == [True, False]
    for content in contents:
        body = orjson.dumps(content)
        queued = QueuedRequest.read("another", body)
        assert queued.returned == bool(content.get("returned"))
        await stage.engine.take_request(QueueMessage("another", body))
        assert (await stage.finish(queued.response_id)).status is Status.COMPLETED


def test_a_rejected_request_has_its_reason() -> None:
    """The reason and code of a rejected request are read from the poison queue."""
    rejected = [
        QueuedRequest.read("another", orjson.dumps(content)).rejected
        for content in Storage.load(FOLDER / "messages.json").sent(REQUESTS + POISON)
    ]
    assert [(one.reason, one.code) for one in rejected if one] == [
        ("'metadata' must be an object.", "invalid_type"),
        ("The message is not valid JSON.", "invalid_json"),
    ]
