"""The credentials of a request go to the upstream, stay in the request's rows, and are nowhere else."""

import zlib
from typing import Any

import orjson
import pytest

from shared.contract.pages import Page
from shared.contract.redaction import MASK
from shared.contract.requests import parse_request
from shared.core.blobs import joined
from shared.core.errors import RefusedByUpstream, UpstreamRefused, UpstreamUnavailable
from shared.core.states import Status
from shared.storage.messages import RunOffer
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.stage import ANN, CALLBACK_URL, Stage
from tests.support.stream_clients import streamed

KEY = "geheim-0123456789"
TOOL = {
    "type": "mcp",
    "server_label": "crm",
    "server_url": f"https://crm.example.com/mcp?tenant={KEY}-1",
    "authorization": f"{KEY}-2",
    "headers": {"Authorization": f"Bearer {KEY}-3"},
}
ASK: dict[str, Any] = {"tools": [TOOL], "callback_url": CALLBACK_URL, "reply_to": "replies-1", "acme": {"apiKey": KEY}}
SAID = {"code": "bad_key", "message": f"The server rejected 'Bearer {KEY}-3'."}


class Echoing(ScriptedUpstream):
    """An upstream that repeats all it got in members of its own, and in the message of its error."""

    def _answer(self, work: Any) -> dict[str, Any]:
        echo = {"got": work.request["tools"][0]["authorization"], "tools": work.request["tools"], "error": SAID}
        return super()._answer(work) | echo


async def stored(stage: Stage) -> dict[str, bytes]:
    """Return every row of the table by its key, with its packed bytes expanded."""
    rows = {}
    async for row in (await stage.table()).list_entities():
        rows[row["RowKey"]] = orjson.dumps({name: str(value) for name, value in row.items()}) + _expanded(row)
    return rows


def _expanded(row: Any) -> bytes:
    packed = [value for value in (joined([row]), row.get("body")) if isinstance(value, bytes) and value]
    return b"".join(map(zlib.decompress, packed))


async def check(stage: Stage, response_id: str) -> None:
    """Fail if a credential is anywhere but in the rows of the request."""
    await stage.deliver()
    shown = [await stage.shown(response_id), await stage.engine.input_items(ANN, response_id, Page())]
    posts = [post.body for post in (*stage.receiver.posts, *stage.replies.posts)]
    assert len(posts) == 2
    assert not [text for text in (*map(orjson.dumps, shown), *posts, *map(repr, stage.sent)) if "geheim" in str(text)]
    assert [key for key, text in (await stored(stage)).items() if b"geheim" in text] == [f"resp|{response_id}|input|00"]


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.INCOMPLETE])
async def test_a_polled_response_shows_none(stage: Stage, status: Status) -> None:
    """Whatever its upstream repeats, in every answer. The upstream gets them as they are."""
    stage.cast(Echoing())
    stage.upstream.course = [Status.IN_PROGRESS, status]
    made = await stage.create(**ASK)
    assert "geheim" not in str(await stage.shown(made.id))
    await stage.finish(made.id)
    (work,) = stage.upstream.works.values()
    assert (work.request["tools"], work.request["acme"]) == ([TOOL], {"apiKey": KEY})
    await check(stage, made.id)


@pytest.mark.parametrize("is_background", [True, False])
async def test_a_stream_tells_none(stage: Stage, is_background: bool, caplog: pytest.LogCaptureFixture) -> None:
    """In no event, live and from the log, and in no log line."""
    stage.cast(Echoing())
    stage.upstream.is_background = is_background
    item = {"type": "mcp_list_tools", "server_url": TOOL["server_url"], "used": f"{KEY}-2", "headers": TOOL["headers"]}
    told: list[dict[str, Any]] = [
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "acme.tools", "tools": [TOOL]},
    ]
    events = stage.upstream.streams.events
    stage.upstream.streams.events = [*events[:2], *told, *events[2:]]
    reader = await streamed(stage, **ASK)
    if not is_background:
        await stage.engine.drive(RunOffer(reader.id, 1))
    received = await reader.rest()
    assert "acme.tools" in [event["type"] for _, event in received]
    assert "geheim" not in str(received)
    await check(stage, reader.id)
    assert "geheim" not in caplog.text


@pytest.mark.parametrize(
    "said",
    [
        {"error": f"refused Bearer {KEY}-3"},
        {"error": {"detail": f"refused Bearer {KEY}-3"}},
        {"error": {"message": "failed", "details": [{"message": f"refused Bearer {KEY}-3"}]}},
        {"error": {"message": "failed", "code": f"refused {KEY}-3"}},
        {"last_error": {"reason": f"refused Bearer {KEY}-3"}},
        {"status_details": f"refused Bearer {KEY}-3"},
    ],
    ids=lambda said: str(list(said)),
)
async def test_a_failure_tells_none_in_whatever_form_its_upstream_reports_it(
    stage: Stage, said: dict[str, Any]
) -> None:
    """Its callers and receivers get the upstream's words from any of these members."""

    class Failing(ScriptedUpstream):
        def _answer(self, work: Any) -> dict[str, Any]:
            return super()._answer(work) | (said if work.status.is_terminal else {})

    stage.cast(Failing())
    stage.upstream.course = [Status.FAILED]
    made = await stage.create(**ASK)
    await stage.finish(made.id)
    assert MASK in str((await stage.shown(made.id))["error"])
    await check(stage, made.id)


async def test_an_error_in_a_stream_tells_none(stage: Stage) -> None:
    """The message of the upstream reaches the caller without the credential that it quotes."""
    stage.upstream.is_background = False
    stage.upstream.streams.events = [{"type": "response.created"}, {"type": "error", **SAID}]
    made = await stage.create(**ASK)
    await stage.engine.drive(RunOffer(made.id, 1))
    assert (await stage.shown(made.id))["error"]["message"] == "The server rejected '***'."
    await check(stage, made.id)


async def test_a_refusal_tells_none(stage: Stage) -> None:
    """As a 4xx, and as a failure of a response that is known already."""
    stage.upstream.start_errors = [UpstreamRefused(400, SAID["message"])]
    body = orjson.dumps({"model": "m", "input": "q", "background": True, **ASK})
    with pytest.raises(RefusedByUpstream) as refused:
        await stage.engine.create(ANN, parse_request(body), None)
    assert refused.value.message == "The server rejected '***'."
    stage.upstream.start_errors = [UpstreamUnavailable("x"), UpstreamRefused(400, SAID["message"])]
    made = await stage.create(**ASK)
    await stage.finish(made.id)
    assert (await stage.shown(made.id))["error"]["message"] == "The server rejected '***'."
    await check(stage, made.id)


async def test_a_cancelled_response_shows_none(stage: Stage) -> None:
    """Its object is made from the request."""
    stage.upstream.course = [Status.IN_PROGRESS]
    made = await stage.create(**ASK)
    await stage.engine.cancel(ANN, made.id)
    await check(stage, made.id)
