"""What libraries warn of and what nobody catches: lines of the event `library`, without any value.

Hooks belong to a process, so each test has its own.
"""

import subprocess
import sys
from typing import Any

import orjson
import pytest

from local.stack.process import ROOT

SECRET = "sk-geheim"
HEAD = """
import asyncio, gc, logging, logging.config, sys, threading
from shared.telemetry import library_logs
SECRET = "-".join(["sk", "geheim"])  # it stands nowhere in the code
"""
UVICORN = """
from uvicorn.config import LOGGING_CONFIG
library_logs.install()
logging.config.dictConfig(LOGGING_CONFIG)  # later than the app, as the platform's extension does it
"""


def run(program: str, status: int = 0) -> tuple[list[dict[str, Any]], str]:
    """Run a program in a new interpreter. Return the lines that it writes and its standard error.

    Neither may have the secret. The time of a line is left out.
    """
    command = [sys.executable, "-c", HEAD + program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, SECRET in done.stdout + done.stderr) == (status, False), done.stderr
    lines = [orjson.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert all(line.pop("time") for line in lines)
    return lines, done.stderr


# Records of logging


def test_a_warning_of_a_library_is_a_line_without_its_arguments() -> None:
    """It has the logger, the place in the code, and the message as it stands there. Information is left out."""
    lines, complaints = run(
        """
library_logs.install()
log = logging.getLogger("some.library")
def call():
    log.info("asking")
    log.warning("no answer from %s", SECRET)
    log.critical("gone")
call()
"""
    )
    assert complaints == ""
    assert [(line["event"], line["level"], line["logger"], line["message"]) for line in lines] == [
        ("library", "warning", "some.library", "no answer from %s"),
        ("library", "error", "some.library", "gone"),
    ]
    assert [line["at"] for line in lines] == ["<string>:10 call", "<string>:11 call"]


@pytest.mark.parametrize(
    "message", ["f'no answer from {SECRET}'", "f'{SECRET} says %s', 1", "SECRET", "'a ' + SECRET", "ValueError(SECRET)"]
)
def test_a_message_that_is_made_at_run_time_is_left_out(message: str) -> None:
    """It may contain anything. The place in the code tells what it is about."""
    (line,), _ = run(f"library_logs.install()\nlogging.getLogger('some.library').error({message})")
    assert "message" not in line
    assert line["at"].endswith(" <module>")


def test_an_exception_of_a_library_has_its_types_and_places() -> None:
    """Its text is left out, and so is that of its cause."""
    (line,), _ = run(
        """
library_logs.install()
try:
    try:
        float(SECRET)
    except ValueError as error:
        raise ConnectionError(SECRET) from error
except ConnectionError:
    logging.getLogger("some.library").exception("failed")
"""
    )
    assert (line["level"], line["errors"]) == ("error", ["ConnectionError", "ValueError"])
    assert line["places"].count("<string>") == 2


def test_a_record_that_cannot_be_formatted_is_a_line() -> None:
    """Nothing is formatted, so nothing can fail."""
    (line,), complaints = run("library_logs.install()\nlogging.getLogger('x').warning('%d of %d', SECRET)")
    assert (line["message"], complaints) == ("%d of %d", "")


def test_libraries_that_tell_every_call_are_quiet() -> None:
    """Their information has URLs, and the platform would pass it on. Their warnings are lines."""
    lines, _ = run(
        """
shown = logging.StreamHandler(sys.stdout)
logging.basicConfig(level=logging.INFO, handlers=[shown])
library_logs.install()
for name in ("azure.core.pipeline", "httpx", "httpcore.http11", "openai._base_client", "agent_framework"):
    logging.getLogger(name).info("%s", SECRET)
    shown.setLevel(logging.CRITICAL)
    logging.getLogger(name).warning("%s", SECRET)
    shown.setLevel(logging.INFO)
"""
    )
    assert len(lines) == 5


# uvicorn, whose set-up comes later and replaces handlers and levels


def test_access_lines_are_filtered_out() -> None:
    """They would have the path and the query of every request."""
    lines, complaints = run(
        UVICORN
        + """
arguments = ("1.2.3.4:5", "GET", f"/responses?key={SECRET}", "1.1", 200)
logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', *arguments)
logging.getLogger("uvicorn.access").error('%s - "%s %s HTTP/%s" %d', *arguments)
"""
    )
    assert (lines, complaints) == ([], "")


def test_errors_of_the_web_server_are_lines_and_nothing_else() -> None:
    """Uvicorn would print the exception's text. What it tells about its start is printed as ever."""
    (line,), complaints = run(
        UVICORN
        + """
log = logging.getLogger("uvicorn.error")
log.info("Started server process")
try:
    float(SECRET)
except ValueError as error:
    log.error("Exception in ASGI application\\n", exc_info=error)
"""
    )
    assert (line["logger"], line["errors"]) == ("uvicorn.error", ["ValueError"])
    assert (line["level"], line["message"]) == ("error", "Exception in ASGI application\n")
    assert "Started server process" in complaints
    assert "Exception" not in complaints


def test_a_stream_that_is_broken_on_purpose_is_no_error() -> None:
    """An end without a terminal event is made unclean, so that no client takes it for the whole answer."""
    lines, complaints = run(
        UVICORN + "logging.getLogger('uvicorn.error').error('ASGI callable returned without completing response.')"
    )
    assert (lines, complaints) == ([], "")


# What nobody catches


def test_the_exception_of_a_task_that_nobody_awaits_is_a_line() -> None:
    """It names the coroutine. asyncio itself would print the exception's text."""
    (line,), complaints = run(
        """
library_logs.install()
async def forgotten():
    float(SECRET)

async def main():
    library_logs.watch_loop(asyncio.get_running_loop())
    library_logs.watch_loop(asyncio.get_running_loop())
    asyncio.create_task(forgotten(), name=SECRET)
    await asyncio.sleep(0.01)
    gc.collect()

asyncio.run(main())
"""
    )
    assert complaints == ""
    assert "in forgotten" in line.pop("places")
    assert line == {
        "event": "library",
        "level": "error",
        "logger": "asyncio",
        "message": "Task exception was never retrieved",
        "task": "forgotten",
        "errors": ["ValueError"],
    }


def test_the_exception_of_a_callback_is_a_line() -> None:
    """Asyncio's own message would show the callback's arguments."""
    (line,), complaints = run(
        """
async def main():
    library_logs.watch_loop(asyncio.get_running_loop())
    asyncio.get_running_loop().call_soon(float, SECRET)
    await asyncio.sleep(0.01)

asyncio.run(main())
"""
    )
    assert complaints == ""
    assert (line["logger"], line["level"], line["errors"], "message" in line) == (
        "asyncio",
        "error",
        ["ValueError"],
        False,
    )


def test_the_exception_of_a_thread_is_a_line() -> None:
    """A thread that ends itself is none."""
    (line,), complaints = run(
        """
library_logs.install()
for target, arguments in ((float, (SECRET,)), (sys.exit, (1,))):
    thread = threading.Thread(target=target, args=arguments)
    thread.start()
    thread.join()
"""
    )
    assert (line["logger"], line["level"], line["errors"]) == ("threading.excepthook", "error", ["ValueError"])
    assert complaints == ""


def test_the_exception_that_ends_the_process_is_a_line() -> None:
    """The process still fails."""
    (line,), complaints = run("library_logs.install()\nfloat(SECRET)", status=1)
    assert (line["logger"], line["level"], line["errors"]) == ("sys.excepthook", "error", ["ValueError"])
    assert complaints == ""


def test_the_exception_of_a_finalizer_is_a_line() -> None:
    """The interpreter ignores it, so it is a warning."""
    (line,), complaints = run(
        """
library_logs.install()
class Leaving:
    def __del__(self):
        float(SECRET)
Leaving()
"""
    )
    assert (line["logger"], line["level"], line["errors"]) == ("sys.unraisablehook", "warning", ["ValueError"])
    assert complaints == ""


def test_hooks_of_others_are_still_called() -> None:
    """The platform, or a test runner, may have set its own. Ours do not take their place."""
    lines, _ = run(
        """
def heard(*_):
    print('{"time": "-", "event": "other"}')

sys.excepthook = threading.excepthook = sys.unraisablehook = heard
library_logs.install()
thread = threading.Thread(target=float, args=(SECRET,))
thread.start()
thread.join()

async def main():
    asyncio.get_running_loop().set_exception_handler(heard)
    library_logs.watch_loop(asyncio.get_running_loop())
    asyncio.get_running_loop().call_soon(float, SECRET)
    await asyncio.sleep(0.01)

asyncio.run(main())
float(SECRET)
""",
        status=1,
    )
    assert [line["event"] for line in lines] == ["library", "other"] * 3


def test_an_app_that_is_loaded_twice_is_heard_once() -> None:
    """The platform may load the app again in the same process."""
    lines, _ = run(
        UVICORN
        + """
library_logs.install()
logging.getLogger("some.library").warning("once")
logging.getLogger("uvicorn.error").warning("once")
thread = threading.Thread(target=float, args=(SECRET,))
thread.start()
thread.join()
"""
    )
    assert [line["logger"] for line in lines] == ["some.library", "uvicorn.error", "threading.excepthook"]
