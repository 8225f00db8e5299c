"""Traces without telemetry: a caller's trace is kept, carried through every step, and passed on as it came."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import httpx
import orjson
import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.errors import UnreadableRow
from shared.lifecycle.queue_intake import QueueMessage
from shared.storage import codec
from shared.storage.messages import QueuedRequest
from shared.telemetry import logs, spans, tracing
from shared.telemetry.spans import MeasuredSpan
from shared.upstreams.responses_api import BackgroundResponses
from tests.support.log_capture import log_lines
from tests.support.stage import CALLBACK_URL, Stage

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
WRONG = ["", "nonsense", TRACEPARENT.upper(), f"00-{'0' * 32}-00f067aa0ba902b7-01", f"ff{TRACEPARENT[2:]}", "00-1-2-3"]


async def test_a_response_and_its_alarms_carry_the_trace_it_began_in(stage: Stage) -> None:
    """From its acceptance to its purge; nothing is made of it, for nothing is recorded."""
    with tracing.under(TRACEPARENT):
        record = await stage.create(callback_url=CALLBACK_URL)
    assert (record.trace, record.trace_parent) == (TRACEPARENT, "")
    assert {alarm.trace for alarm in await stage.alarms(record.id)} == {TRACEPARENT}
    await stage.finish(record.id)
    assert {alarm.trace for alarm in await stage.alarms(record.id)} == {TRACEPARENT}
    await stage.deliver()
    assert {alarm.trace for alarm in await stage.alarms(record.id)} == {TRACEPARENT}
    (post,) = stage.receiver.posts
    assert post.headers["traceparent"] == TRACEPARENT


async def test_a_retried_delivery_is_of_the_same_trace(stage: Stage) -> None:
    """The alarm of the next attempt is made by one that a message has begun."""
    stage.receiver.answers = [500, 204]
    with tracing.under(TRACEPARENT):
        record = await stage.create(callback_url=CALLBACK_URL)
    await stage.finish(record.id)
    await stage.deliver()
    assert {alarm.trace for alarm in await stage.alarms(record.id)} == {TRACEPARENT}
    stage.clock.advance(60)
    await stage.sweep(record.id)
    assert [post.headers["traceparent"] for post in stage.receiver.posts] == [TRACEPARENT] * 2


async def test_without_a_trace_nothing_is_carried(stage: Stage) -> None:
    """No row has a fact more, and no receiver a header."""
    record = await stage.create(callback_url=CALLBACK_URL)
    await stage.finish(record.id)
    await stage.deliver()
    (post,) = stage.receiver.posts
    assert (record.trace, "traceparent" in post.headers) == ("", False)
    assert "trace" not in codec.encode_record(record)


async def test_a_queued_request_may_name_its_trace(stage: Stage) -> None:
    """Queues have no headers; one that is malformed is no mistake to fail for."""
    body = {"request": {"model": "m", "input": "question"}, "traceparent": TRACEPARENT}
    message = QueueMessage("m-1", orjson.dumps(body))
    await stage.engine.take_request(message)
    assert (await stage.record(QueuedRequest.read(message.id, message.body).response_id)).trace == TRACEPARENT
    odd = QueueMessage("m-2", orjson.dumps({**body, "traceparent": 7}))
    await stage.engine.take_request(odd)
    assert (await stage.record(QueuedRequest.read(odd.id, odd.body).response_id)).trace == ""


@pytest.mark.parametrize("given", [*WRONG, TRACEPARENT])
async def test_the_upstream_learns_a_trace_that_is_one(given: str) -> None:
    """A traceparent that the specification calls invalid is none."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "up_1", "status": "queued"})

    async def nobody() -> Mapping[str, str]:
        return {}

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    with tracing.under(given):
        await BackgroundResponses(client, "https://model.example.com/v1", nobody).poll("up_1")
    assert [request.headers.get("traceparent") for request in seen] == [given if given == TRACEPARENT else None]


def test_work_for_one_response_is_of_no_others_trace() -> None:
    """What has no trace is not part of the one around it, as when a sweep rings many alarms."""
    with tracing.under(TRACEPARENT):
        assert tracing.trace_fields() == {"trace_id": TRACE_ID}
        with tracing.under(""):
            assert tracing.trace_fields() == {}
        assert tracing.trace_fields() == {"trace_id": TRACE_ID}
    assert tracing.trace_fields() == {}


def test_an_alarm_is_read_with_its_trace() -> None:
    """And one whose trace is no text is no alarm."""
    alarm = Alarm(1, Kind.POLL, f"resp_{'a' * 32}", token="up_1", trace=TRACEPARENT)
    assert codec.decode_alarm(alarm.key, codec.encode_alarm(alarm), "") == alarm
    with pytest.raises(UnreadableRow):
        codec.decode_alarm(alarm.key, '{"trace": 7}', "")


@pytest.mark.parametrize(("method", "name"), [("GET", "GET"), ("BREW", "_OTHER"), ("get", "_OTHER")])
def test_a_method_nobody_knows_has_one_name(method: str, name: str) -> None:
    """Whoever invents methods does not multiply the figures."""
    exchange = spans.server_span(method, None, "https://a.example/x?key=secret", "")
    with exchange:
        assert exchange._common == {"http.request.method": name, "url.scheme": "https"}


def test_an_exception_is_told_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """By types and places in the code: what it says may be a prompt or a key. Its line is one line."""
    log, prompt = logs.logger("shared.example"), "geheim"
    with pytest.raises(ValueError, match=prompt) as caught:
        float(prompt)
    log.error("run.failed", extra={"response": "resp_1"}, exc_info=caught.value)
    try:
        float(prompt)
    except ValueError:
        log.exception("run.failed")
    given, current = log_lines(caplog)
    assert (given["response"], given["errors"], current["errors"]) == ("resp_1", ["ValueError"], ["ValueError"])
    assert "test_tracing.py" in given["places"]
    assert prompt not in caplog.text
    assert [text.count("\n") for text in caplog.messages] == [0, 0]


@pytest.mark.parametrize(
    ("status", "raised", "error"),
    [
        (None, httpx.ConnectError("geheim"), "ConnectError"),
        (200, ValueError("geheim"), "ValueError"),
        (503, ValueError("geheim"), "503"),  # as the conventions say: the answer is the error
        (200, GeneratorExit(), None),
        (200, asyncio.CancelledError(), None),  # we have had enough, or another has the work now
    ],
)
def test_an_exchange_fails_by_what_it_failed_of(status: int | None, raised: BaseException, error: str | None) -> None:
    """Never by the text of an exception, and not where we have given it up."""

    def ask(exchange: MeasuredSpan) -> None:
        with exchange:
            exchange.record_answer(status)
            raise raised

    exchange = spans.upstream_span("GET", "/x", "https://a.example/x")
    with pytest.raises(type(raised)):
        ask(exchange)
    assert exchange._common.get("error.type") == error


def test_a_line_is_one_json_object(caplog: pytest.LogCaptureFixture) -> None:
    """With its fields, whatever their values are, and the trace; percent signs are text."""
    log = logs.logger("shared.example")
    fields: dict[str, Any] = {"response": "resp_1", "count": 3, "kind": Kind.POLL, "odd": ValueError("100 %s")}
    with caplog.at_level(logging.INFO), tracing.under(TRACEPARENT):
        log.info("poll.deferred", extra=fields)
    (line,) = log_lines(caplog)
    assert line == {
        "event": "poll.deferred",
        "response": "resp_1",
        "count": 3,
        "kind": "poll",
        "odd": "100 %s",
        "trace_id": TRACE_ID,
    }
    assert caplog.messages[0].startswith('{"event":"poll.deferred"')
    assert "\n" not in caplog.messages[0]
