"""What callers ask to include reaches the upstream's GETs."""

from typing import Any

import orjson
import pytest

from shared.core.errors import UpstreamOversized, UpstreamUnavailable
from shared.core.states import Status
from shared.off_loop import LARGE
from shared.storage.messages import RunOffer
from tests.support.run_holders import die, held, logged, taken_over
from tests.support.stage import ANN, CALLBACK_URL, Stage
from tests.support.stream_clients import streamed
from tests.support.threads import counted_threads

SOURCES, RESULTS = "web_search_call.action.sources", "file_search_call.results"


async def looked_at(stage: Stage, response_id: str, *include: str) -> dict[str, Any]:
    """Return the response object as a caller reads it who asks for more."""
    _, body = await stage.engine.retrieve(ANN, response_id, include=include)
    return dict(orjson.loads(body))


async def test_every_poll_asks_for_what_the_request_includes(stage: Stage) -> None:
    """Those of alarms and those of callers."""
    made = await stage.create(include=[SOURCES, 7])
    await stage.shown(made.id)
    await stage.finish(made.id)
    assert len(stage.upstream.included) >= 2
    assert set(stage.upstream.included) == {(SOURCES,)}


async def test_without_an_include_nothing_is_asked_for(stage: Stage) -> None:
    """Most requests have none."""
    made = await stage.create()
    await stage.finish(made.id)
    assert set(stage.upstream.included) == {()}


async def test_a_stream_is_resumed_with_it(stage: Stage) -> None:
    """The next holder asks as the first one did."""
    gate = stage.upstream.streams.hold(4)
    reader = await streamed(stage, include=[SOURCES])
    await logged(stage, reader.id, 4)
    await die(held(stage))
    await stage.fire_alarms(reader.id)
    await taken_over(stage, reader.id, gate)
    assert stage.upstream.included == [(SOURCES,)]


async def test_a_foreground_upstream_is_asked_for_earlier_work_with_it(stage: Stage) -> None:
    """The answer may be the output."""
    stage.upstream.is_background, stage.upstream.forgets = False, False
    stage.upstream.course = [Status.COMPLETED]
    stage.upstream.streams.breaks = [4]
    made = await stage.create(include=[SOURCES])
    await stage.engine.drive(RunOffer(made.id, 1))
    assert stage.upstream.included == [(SOURCES,)]


@pytest.mark.parametrize("ended", [False, True])
async def test_a_callers_own_include_is_honoured(stage: Stage, ended: bool) -> None:
    """It is added to that of the request, also after the end. The rest of the object stays as it ended."""
    stage.upstream.course = [Status.IN_PROGRESS, Status.COMPLETED]
    made = await stage.create(include=[SOURCES])
    if ended:
        await stage.finish(made.id)
    before = await stage.shown(made.id)
    stage.upstream.output = ", with results"
    shown = await looked_at(stage, made.id, RESULTS, SOURCES)
    assert stage.upstream.included[-1] == (SOURCES, RESULTS)
    if ended:
        assert shown["output"][0]["content"][0]["text"] == "question answered, with results"
        assert {**shown, "output": before["output"]} == before
        assert await stage.shown(made.id) == before


@pytest.mark.parametrize("extra", [", with results", "".join(f"{n:x}" for n in range(3_000_000))])
async def test_a_callers_own_include_is_no_part_of_the_end(stage: Stage, extra: str) -> None:
    """Its poll finds the end. What is stored is what the request asked for, also if more would be too large."""
    stage.upstream.course = [Status.COMPLETED]
    stage.upstream.extras = {RESULTS: extra}
    made = await stage.create(callback_url=CALLBACK_URL)
    shown = await looked_at(stage, made.id, RESULTS)
    assert stage.upstream.included[:2] == [(RESULTS,), ()]
    assert shown["output"][0]["content"][0]["text"] == f"question answered{extra}"
    stored = await stage.shown(made.id)
    assert (stored["status"], stored["output"][0]["content"][0]["text"]) == ("completed", "question answered")
    await stage.deliver()
    (post,) = stage.receiver.posts
    assert orjson.loads(post.body)["type"] == "response.completed"


async def test_an_answer_that_only_a_callers_include_spoils_ends_nothing(stage: Stage) -> None:
    """The upstream answers the enriched poll with something else than a response. The next one is as the request is."""
    made = await stage.create()
    stage.upstream.poll_errors = [UpstreamOversized()]
    await looked_at(stage, made.id, RESULTS)
    assert stage.upstream.included == [(RESULTS,), ()]
    assert not (await stage.record(made.id)).status.is_terminal


@pytest.mark.parametrize(("size", "count"), [(LARGE, 1), (9, 0)])
async def test_a_large_output_is_shown_by_a_thread(stage: Stage, size: int, count: int) -> None:
    """It may have 11,000 tokens with 20 others each. Reading, masking and writing that would hold up everybody."""
    made = await stage.create()
    await stage.finish(made.id)
    stage.upstream.output = "x" * size
    with counted_threads() as threads:
        shown = await looked_at(stage, made.id, RESULTS)
    assert len(shown["output"][0]["content"][0]["text"]) > size
    assert threads.count == count


async def test_an_ended_response_is_shown_although_its_upstream_is_away(stage: Stage) -> None:
    """As it ended, and also if the upstream has another view of it now."""
    made = await stage.ended()
    before = await stage.shown(made.id)
    stage.upstream.poll_errors = [UpstreamUnavailable("ConnectError")]
    assert await looked_at(stage, made.id, RESULTS) == before
    stage.upstream.works["up_0"].course = [Status.FAILED]
    assert await looked_at(stage, made.id, SOURCES) == before


async def test_a_foreground_upstream_is_not_asked_again(stage: Stage) -> None:
    """It may have kept nothing."""
    stage.upstream.is_background = False
    made = await stage.create()
    await stage.engine.drive(RunOffer(made.id, 1))
    assert await looked_at(stage, made.id, RESULTS) == await stage.shown(made.id)
    assert stage.upstream.included == []
