"""Log lines: written by this process, whatever the fields are and wherever its output has gone."""

import contextlib
import io
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from local.stack.process import ROOT
from shared.telemetry import logs, tracing
from shared.telemetry.logs import logger
from tests.support.log_capture import WrittenLines, log_lines

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
SECRET = "sk-geheim"
LOG = logger("shared.example")

# Lines from everywhere: while a function runs, and after it has returned.
FROM_EVERYWHERE = """
import asyncio, threading
from shared.telemetry.logs import logger
log = logger("shared.example")

async def body():
    log.info("from.stream", extra={"part": 1})
    yield b"a"
    log.info("from.stream", extra={"part": 2})

async def task():
    await asyncio.sleep(0)
    log.info("from.task")

async def function(tasks):
    log.info("from.function")
    tasks.add(asyncio.create_task(task()))
    asyncio.get_running_loop().call_later(0.01, log.info, "from.callback")
    thread = threading.Thread(target=log.info, args=("from.thread",))
    return body(), thread

async def host():
    tasks = set()
    stream, thread = await function(tasks)
    async for _ in stream:
        pass
    thread.start()
    thread.join()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0.05)

asyncio.run(host())
"""
FROM_SIX_THREADS = """
import threading
from shared.telemetry.logs import logger
log = logger("shared.example")
start = threading.Barrier(6)

def tell(number):
    start.wait()
    for count in range(300):
        log.info("a.b", extra={"thread": number, "count": count, "text": "x" * 7 * count})

threads = [threading.Thread(target=tell, args=(number,)) for number in range(6)]
for one in threads:
    one.start()
for one in threads:
    one.join()
"""
WITH_A_BROKEN_PIPE = """
import os, sys, threading
from shared.telemetry.logs import logger
log = logger("shared.example")
receiving, sending = os.pipe()
sys.stdout.flush()
os.dup2(sending, 1)
os.close(receiving)
for _ in range(100):
    log.info("a.b", extra={"text": "x" * 9_000})
os.dup2(2, 1)
log.info("a.last")
"""


def run(program: str) -> str:
    """Run a program in a child process that must succeed without a complaint. Return its standard output."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# What is written


def test_a_line_has_the_event_its_level_its_time_its_logger_and_the_fields(written: WrittenLines) -> None:
    """The event comes first. The time is that of this process, in UTC. The only newline is at the end."""
    LOG.info("response.started", extra={"response": "resp_1", "text": "two\nlines", "count": 3})
    (line,) = written.whole()
    assert datetime.now(UTC) - datetime.fromisoformat(line.pop("time")) < timedelta(seconds=10)
    assert line == {
        "event": "response.started",
        "level": "info",
        "logger": "shared.example",
        "response": "resp_1",
        "text": "two\nlines",
        "count": 3,
    }
    assert written.text.startswith('{"event":"response.started","level":"info",')
    assert written.text.count("\n") == 1 == len(written.text) - written.text.index("\n")


def test_each_method_has_its_level(written: WrittenLines) -> None:
    """The platform gives every line of standard output the same level, so the line says it."""
    LOG.info("a.b")
    LOG.warning("a.b")
    LOG.error("a.b")
    LOG.exception("a.b")  # noqa: LOG004 - its level is the subject
    assert [line["level"] for line in written.whole()] == ["info", "warning", "error", "error"]


def test_percent_signs_and_braces_are_plain_text(written: WrittenLines) -> None:
    """Neither the event nor a field is a format."""
    LOG.info("100 %s", extra={"text": "%d {} %(name)s"})
    assert log_lines(written) == [{"event": "100 %s", "text": "%d {} %(name)s"}]


def test_a_line_inside_a_trace_has_its_id(written: WrittenLines) -> None:
    """The id is in hexadecimal. A line outside of a trace has no such field."""
    with tracing.under(TRACEPARENT):
        LOG.info("a.b")
    LOG.info("a.b")
    assert log_lines(written) == [{"event": "a.b", "trace_id": TRACE_ID}, {"event": "a.b"}]


# Where it is written


def test_a_line_is_one_write_to_standard_output_and_is_flushed(capsys: pytest.CaptureFixture[str]) -> None:
    """Text and newline are one write. A second one would be torn off by another thread's."""

    class Counting(io.StringIO):
        calls: list[str] = []  # noqa: RUF012 - of this test

        def write(self, text: str) -> int:
            self.calls.append(text)
            return len(text)

        def flush(self) -> None:
            self.calls.append("flushed")

    with contextlib.redirect_stdout(Counting()):
        LOG.info("a.b")
    LOG.info("c.d")
    text, flushed = Counting.calls
    assert (orjson.loads(text)["event"], text[-1], flushed) == ("a.b", "\n", "flushed")
    assert orjson.loads(capsys.readouterr().out)["event"] == "c.d"


def test_lines_are_written_from_wherever_they_are_told() -> None:
    """A function that has returned leaves a stream, a task, a callback and a thread behind. All of them are heard."""
    events = [orjson.loads(line)["event"] for line in run(FROM_EVERYWHERE).splitlines()]
    told = ["callback", "function", "stream", "stream", "task", "thread"]
    assert sorted(events) == [f"from.{one}" for one in told]


def test_lines_of_six_threads_are_whole() -> None:
    """1,800 lines of up to 2 KiB, written at once, are 1,800 JSON objects, in the order of their thread."""
    lines = [orjson.loads(line) for line in run(FROM_SIX_THREADS).split("\n")[:-1]]
    counts: dict[int, list[int]] = {}
    for line in lines:
        counts.setdefault(line["thread"], []).append(line["count"])
    assert list(counts.values()) == [list(range(300))] * 6


def test_a_broken_pipe_stops_nothing() -> None:
    """A worker whose host was killed works on. Its lines are lost, and the writer survives."""
    command = [sys.executable, "-c", WITH_A_BROKEN_PIPE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "a.last" in done.stderr
    assert "Error" not in done.stderr


@pytest.mark.parametrize("broken", ["closed", "missing", "of another encoding"])
def test_an_output_that_takes_nothing_raises_nothing(broken: str) -> None:
    """Standard output may be closed or missing. In an old encoding a line arrives, because it is ASCII."""
    raw = io.BytesIO()
    streams: dict[str, Any] = {"missing": None, "of another encoding": io.TextIOWrapper(raw, "cp437"), "closed": None}
    if broken == "closed":
        streams[broken] = io.TextIOWrapper(io.BytesIO())
        streams[broken].close()
    with contextlib.redirect_stdout(streams[broken]):
        LOG.error("a.b", extra={"text": "é😀"})
    arrived = [orjson.loads(line)["text"] for line in raw.getvalue().splitlines()]
    assert arrived == (["é😀"] if broken == "of another encoding" else [])


def test_a_field_that_raises_does_not_take_the_line_with_it(written: WrittenLines) -> None:
    """The event, its level and its logger are written, whatever a field does."""

    class Rude:
        def __str__(self) -> str:
            raise RuntimeError(SECRET)

    class Worse(Exception):
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError(SECRET)

    LOG.warning("a.b", extra={"rude": Rude(), "kept": 1})
    LOG.warning("c.d", extra={"kept": 1}, exc_info=Worse())
    first, second = log_lines(written)
    assert first == {"event": "a.b", "rude": "<Rude>", "kept": 1}
    assert second["event"] == "c.d"


def test_a_receiver_that_raises_is_not_noticed(written: WrittenLines) -> None:
    """A second receiver, such as the one of a collector, cannot stop the caller or the other receivers."""

    def broken(_text: str) -> None:
        raise OSError

    with logs.received_by(broken), logs.received_by(written.texts.append):
        LOG.info("a.b")
    LOG.info("c.d")
    assert [line["event"] for line in log_lines(written)] == ["a.b", "a.b", "c.d"]


# Exceptions


def test_an_exception_is_shown_without_its_text(written: WrittenLines) -> None:
    """Its types and its places in the code are fields of the line. Neither its text nor its traceback is logged."""
    try:
        float(SECRET)
    except ValueError:
        LOG.exception("run.failed", extra={"response": "resp_1"})
    (line,) = log_lines(written, "error")
    assert (line["event"], line["response"], line["errors"]) == ("run.failed", "resp_1", ["ValueError"])
    assert "test_logs.py" in line["places"]
    assert SECRET not in written.text
    assert written.text.count("\n") == 1


def test_an_exception_may_be_given(written: WrittenLines) -> None:
    """`exc_info` may be an exception that is no longer being handled. It counts more than the current one."""
    error = ConnectionError(SECRET)
    try:
        float(SECRET)
    except ValueError:
        LOG.warning("run.failed", exc_info=error)
    LOG.warning("run.failed", exc_info=error)
    assert [line["errors"] for line in log_lines(written)] == [["ConnectionError"]] * 2


@pytest.mark.parametrize("exc_info", [None, False])
def test_the_current_exception_is_shown_only_if_it_is_asked_for(written: WrittenLines, exc_info: bool | None) -> None:
    """A line that is written while an exception is handled need not be about it."""
    try:
        float(SECRET)
    except ValueError:
        LOG.warning("run.failed", exc_info=exc_info)
    assert log_lines(written) == [{"event": "run.failed"}]


def test_without_an_exception_there_is_nothing_to_show(written: WrittenLines) -> None:
    """`exc_info=True` outside of an exception's handler adds no field."""
    LOG.error("run.failed", exc_info=True)  # noqa: LOG014 - outside is the subject
    assert log_lines(written) == [{"event": "run.failed"}]


def test_a_very_deep_stack_is_cut_in_the_middle(written: WrittenLines) -> None:
    """Where the work began and where it failed are both told."""

    def down(left: int) -> None:
        deeper(left - 1) if left else float(SECRET)

    def deeper(left: int) -> None:
        down(left)

    try:
        down(200)
    except ValueError:
        LOG.exception("run.failed")
    (line,) = log_lines(written)
    assert line["cut"] == ["places"]
    assert "test_a_very_deep_stack" in line["places"].splitlines()[0]
    assert "float(SECRET)" in line["places"][-120:]
