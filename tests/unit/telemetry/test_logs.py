"""Log lines: one JSON object with the event, its fields, the current trace and what may be shown of an exception."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.telemetry import tracing
from shared.telemetry.logs import logger
from tests.support.log_capture import log_lines

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
SECRET = "sk-geheim"
LOG = logger("shared.example")


class Kind(StrEnum):
    """A word of our own."""

    POLL = "poll"


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "shared.example")


def test_the_message_is_one_json_object_with_everything(caplog: pytest.LogCaptureFixture) -> None:
    """The platform drops the fields of a record, so they are in its text. The event comes first, and it is one line."""
    LOG.info("response.started", extra={"response": "resp_1", "text": "two\nlines", "count": 3})
    (record,) = caplog.records
    assert record.getMessage() == '{"event":"response.started","response":"resp_1","text":"two\\nlines","count":3}'


def test_a_line_belongs_to_the_logger_of_its_module(caplog: pytest.LogCaptureFixture) -> None:
    """Level and logger are those of `logging`, so the platform can filter by them."""
    LOG.info("a.b")
    LOG.warning("a.b")
    LOG.error("a.b")
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("shared.example", level) for level in ("INFO", "WARNING", "ERROR")
    ]


def test_a_level_that_is_turned_off_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A field of such a line is not even read."""
    seen: list[str] = []

    class Watched:
        def __str__(self) -> str:
            seen.append("read")
            return ""

    LOG.debug("a.b", extra={"value": Watched()})
    assert (caplog.records, seen) == ([], [])
    LOG.info("a.b", extra={"value": Watched()})
    assert seen == ["read"]


def test_percent_signs_and_braces_are_plain_text(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the event nor a field is a format."""
    LOG.info("100 %s", extra={"text": "%d {} %(name)s"})
    assert log_lines(caplog) == [{"event": "100 %s", "text": "%d {} %(name)s"}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (["a", 1], ["a", 1]),
        ({"a": {"b": ()}}, {"a": {"b": []}}),
        (Kind.POLL, "poll"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("/a"), "/a"),
        (b"bytes", "b'bytes'"),
        ({"only"}, "{'only'}"),
        (ValueError("100 %"), "100 %"),
        (float("nan"), None),
    ],
)
def test_a_value_of_any_type_is_written(caplog: pytest.LogCaptureFixture, value: object, expected: object) -> None:
    """A value that JSON cannot express is written as its `str`. NaN is null."""
    LOG.info("a.b", extra={"value": value})
    assert log_lines(caplog) == [{"event": "a.b", "value": expected}]


texts = st.text('a"\\/\n\r\t\0\x7f%{}é\u2028😀', max_size=8)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(texts, st.dictionaries(st.text("abcdef", min_size=8), json_values, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_field_can_be_read_back(caplog: pytest.LogCaptureFixture, event: str, fields: dict[str, Any]) -> None:
    """A line is read as JSON and has exactly the event and the fields that were given."""
    caplog.clear()
    LOG.info(event, extra=fields)
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert orjson.loads(record.getMessage()) == {"event": event, **fields}


# Traces


def test_a_line_inside_a_trace_has_its_id(caplog: pytest.LogCaptureFixture) -> None:
    """The id is in hexadecimal. A line outside of a trace has no such field."""
    with tracing.under(TRACEPARENT):
        LOG.info("a.b")
    LOG.info("a.b")
    assert log_lines(caplog) == [{"event": "a.b", "trace_id": TRACE_ID}, {"event": "a.b"}]


# Exceptions


def test_an_exception_is_shown_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """Its types and its places in the code are fields of the line. Neither its text nor its traceback is logged."""
    try:
        float(SECRET)
    except ValueError:
        LOG.exception("run.failed", extra={"response": "resp_1"})
    (line,) = log_lines(caplog)
    assert (line["event"], line["response"], line["errors"]) == ("run.failed", "resp_1", ["ValueError"])
    assert "test_logs.py" in line["places"]
    (record,) = caplog.records
    assert (record.levelname, record.exc_info, record.exc_text) == ("ERROR", None, None)
    assert SECRET not in caplog.text
    assert "\n" not in record.getMessage()


def test_an_exception_may_be_given(caplog: pytest.LogCaptureFixture) -> None:
    """`exc_info` may be an exception that is no longer being handled. It counts more than the current one."""
    error = ConnectionError(SECRET)
    try:
        float(SECRET)
    except ValueError:
        LOG.warning("run.failed", exc_info=error)
    LOG.warning("run.failed", exc_info=error)
    assert [line["errors"] for line in log_lines(caplog)] == [["ConnectionError"]] * 2


@pytest.mark.parametrize("exc_info", [None, False])
def test_the_current_exception_is_shown_only_if_it_is_asked_for(
    caplog: pytest.LogCaptureFixture, exc_info: bool | None
) -> None:
    """A line that is written while an exception is handled need not be about it."""
    try:
        float(SECRET)
    except ValueError:
        LOG.warning("run.failed", exc_info=exc_info)
    assert log_lines(caplog) == [{"event": "run.failed"}]


def test_without_an_exception_there_is_nothing_to_show(caplog: pytest.LogCaptureFixture) -> None:
    """`exc_info=True` outside of an exception's handler adds no field."""
    LOG.error("run.failed", exc_info=True)  # noqa: LOG014 - outside is the subject
    assert log_lines(caplog) == [{"event": "run.failed"}]
