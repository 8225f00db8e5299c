"""Traces without telemetry: a caller's trace is kept, carried through every step, and passed on unchanged."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import orjson
import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.errors import UnreadableRow
from shared.starts.queue_intake import QueueMessage
from shared.storage import codec
from shared.storage.messages import QueuedRequest
from shared.telemetry import logs, spans, tracing
from shared.telemetry.spans import MeasuredSpan
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.responses_api import BackgroundResponses
from tests.support.log_capture import WrittenLines, log_lines
from tests.support.stage import CALLBACK_URL, Stage

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
WRONG = ["", "nonsense", TRACEPARENT.upper(), f"00-{'0' * 32}-00f067aa0ba902b7-01", f"ff{TRACEPARENT[2:]}", "00-1-2-3"]


async def test_a_response_and_its_alarms_carry_the_trace_of_the_request(stage: Stage) -> None:
    """A response and its alarms carry its caller's traceparent from acceptance to purge, and its callback sends it.

    No span of our own is made, because nothing is recorded.
    """
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


async def test_a_retried_delivery_carries_the_same_trace(stage: Stage) -> None:
    """A retry of a delivery carries the trace, even if a message and not the alarm caused the attempt before it."""
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
    """Without a trace, the record has no trace and the callback has no traceparent header."""
    record = await stage.create(callback_url=CALLBACK_URL)
    await stage.finish(record.id)
    await stage.deliver()
    (post,) = stage.receiver.posts
    assert (record.trace, "traceparent" in post.headers) == ("", False)
    assert "trace" not in codec.encode_record(record)


async def test_a_queued_request_may_name_its_trace(stage: Stage) -> None:
    """A queued request names its trace in its message, because queues have no headers.

    A malformed one is ignored and does not fail the request.
    """
    body = {"request": {"model": "m", "input": "question"}, "traceparent": TRACEPARENT}
    message = QueueMessage("m-1", orjson.dumps(body))
    await stage.engine.take_request(message)
    assert (await stage.record(QueuedRequest.read(message.id, message.body).response_id)).trace == TRACEPARENT
    odd = QueueMessage("m-2", orjson.dumps({**body, "traceparent": 7}))
    await stage.engine.take_request(odd)
    assert (await stage.record(QueuedRequest.read(odd.id, odd.body).response_id)).trace == ""


@pytest.mark.parametrize("given", [*WRONG, TRACEPARENT])
async def test_only_a_valid_trace_is_sent_to_the_upstream(given: str) -> None:
    """A traceparent is sent to the upstream only if the W3C specification calls it valid."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "up_1", "status": "queued"})

    async def nobody() -> Mapping[str, str]:
        return {}

    transport = httpx.MockTransport(answer)
    with tracing.under(given):
        await BackgroundResponses(Endpoint(transport, "https://model.example.com/v1", nobody)).poll("up_1")
    assert [request.headers.get("traceparent") for request in seen] == [given if given == TRACEPARENT else None]


def test_work_without_a_trace_does_not_join_the_trace_around_it() -> None:
    """Work without a trace is not part of the trace around it, for example in a sweep that acts on many alarms."""
    with tracing.under(TRACEPARENT):
        assert tracing.trace_fields() == {"trace_id": TRACE_ID}
        with tracing.under(""):
            assert tracing.trace_fields() == {}
        assert tracing.trace_fields() == {"trace_id": TRACE_ID}
    assert tracing.trace_fields() == {}


def test_an_alarm_is_read_with_its_trace() -> None:
    """An alarm is read with its trace. An alarm whose trace is not a string is unreadable."""
    alarm = Alarm(1, Kind.POLL, f"resp_{'a' * 32}", token="up_1", trace=TRACEPARENT)
    assert codec.decode_alarm(alarm.key, codec.encode_alarm(alarm), "") == alarm
    with pytest.raises(UnreadableRow):
        codec.decode_alarm(alarm.key, '{"trace": 7}', "")


@pytest.mark.parametrize(("method", "name"), [("GET", "GET"), ("BREW", "_OTHER"), ("get", "_OTHER")])
def test_unknown_methods_share_one_name(method: str, name: str) -> None:
    """All unknown HTTP methods have the same name in metrics, so clients cannot multiply the time series."""
    exchange = spans.server_span(method, None, "https://a.example/x?key=secret", "")
    with exchange:
        assert exchange._common == {"http.request.method": name, "url.scheme": "https"}


def test_an_exception_is_logged_without_its_text(written: WrittenLines) -> None:
    """An exception is logged with its type and its places in the code, on one line.

    Its text is left out, because it may be a prompt or a key.
    """
    log, prompt = logs.logger("shared.example"), "geheim"
    with pytest.raises(ValueError, match=prompt) as caught:
        float(prompt)
    log.error("run.failed", extra={"response": "resp_1"}, exc_info=caught.value)
    try:
        float(prompt)
    except ValueError:
        log.exception("run.failed")
    given, current = log_lines(written)
    assert (given["response"], given["errors"], current["errors"]) == ("resp_1", ["ValueError"], ["ValueError"])
    assert "test_tracing.py" in given["places"]
    assert prompt not in written.text
    assert [text.count("\n") for text in written.texts] == [1, 1]


@pytest.mark.parametrize(
    ("status", "raised", "error"),
    [
        (None, httpx.ConnectError("geheim"), "ConnectError"),
        (200, ValueError("geheim"), "ValueError"),
        (503, ValueError("geheim"), "503"),  # by the semantic conventions, the status is the error
        (200, GeneratorExit(), None),
        (200, asyncio.CancelledError(), None),  # this process stopped reading, or another process holds the run
    ],
)
def test_the_error_of_a_span_is_a_status_or_an_exception_type(
    status: int | None, raised: BaseException, error: str | None
) -> None:
    """The error of a span is a status or an exception's type, never its text.

    A call that this process gave up has no error.
    """

    def ask(exchange: MeasuredSpan) -> None:
        with exchange:
            exchange.record_answer(status)
            raise raised

    exchange = spans.upstream_span("GET", "/x", "https://a.example/x")
    with pytest.raises(type(raised)):
        ask(exchange)
    assert exchange._common.get("error.type") == error


def test_a_line_is_one_json_object(written: WrittenLines) -> None:
    """A log line is one JSON object with its fields, of any type, and the trace id. Percent signs are plain text."""
    log = logs.logger("shared.example")
    fields: dict[str, Any] = {"response": "resp_1", "count": 3, "kind": Kind.POLL, "odd": ValueError("100 %s")}
    with tracing.under(TRACEPARENT):
        log.info("poll.deferred", extra=fields)
    (line,) = log_lines(written)
    assert line == {
        "event": "poll.deferred",
        "response": "resp_1",
        "count": 3,
        "kind": "poll",
        "odd": "100 %s",
        "trace_id": TRACE_ID,
    }
    assert written.texts[0].startswith('{"event":"poll.deferred"')
    assert written.text.count("\n") == 1
