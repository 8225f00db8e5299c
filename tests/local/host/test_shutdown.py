"""How the local host ends after a signal, as the platform does. Its durations are tenths, if a test does not say so."""

import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.support.host_process import DEADLINE_S, HEAD, RunningHost, length, put, queue, running, write_app

APP = (
    HEAD
    + """
    from azurefunctions.extensions.http.fastapi import Request, Response, StreamingResponse

    def say(text):
        print(text, flush=True)

    async def outlast(name, seconds=600):
        say(name + " began")
        try:
            await asyncio.sleep(seconds)
            say(name + " ended")
        except BaseException as error:
            say(f"{name} stopped {type(error).__name__}")
            raise
        finally:
            say(name + " finally")

    @app.queue_trigger(arg_name="msg", queue_name="slow", connection=STORAGE)
    async def slow(msg: func.QueueMessage) -> None:
        await outlast("queue", float(msg.get_body()))

    @app.queue_trigger(arg_name="msg", queue_name="stuck", connection=STORAGE)
    def stuck(msg: func.QueueMessage) -> None:
        say("pool began")
        try:
            time.sleep(float(msg.get_body()))
        finally:
            say("pool finally")

    @app.timer_trigger(arg_name="timer", schedule="0 0 0 29 2 *", run_on_startup=True)
    async def timed(timer: func.TimerRequest) -> None:
        await outlast("timer")

    kept = set()

    @app.route(route="task", methods=["POST"])
    async def task(req: Request) -> Response:
        kept.add(asyncio.get_running_loop().create_task(outlast("task")))
        return Response()

    @app.route(route="stream", methods=["GET"])
    async def stream(req: Request) -> StreamingResponse:
        async def body():
            yield b"first"
            await outlast("stream", float(req.query_params["s"]))
            yield b"last"
        return StreamingResponse(body())

    @app.route(route="hearing", methods=["GET"])
    async def hearing(req: Request) -> Response:
        await req.body()
        say("hearing began")
        message = await req.receive()
        say("hearing heard " + message["type"])
        return Response()
"""
)
CUT = ("queue", "pool", "timer", "task")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """Write the app."""
    return write_app(tmp_path, APP)


def begin_everything(host: RunningHost, account: str) -> None:
    """Let a queue function, one in the pool, a timer and a task run for longer than any test."""
    put(account, "slow", b"600")
    put(account, "stuck", b"600")
    host.client.post("/api/task")
    for name in CUT:
        host.await_text(f"{name} began")


def is_refused(host: RunningHost) -> bool:
    """Return whether the host refuses a new connection."""
    address = (host.client.base_url.host, host.client.base_url.port or 80)
    try:
        socket.create_connection(address, timeout=DEADLINE_S).close()
    except ConnectionRefusedError:
        return True
    return False


def read_until_reset(host: RunningHost, path: str, began: str) -> tuple[threading.Thread, list[httpx.HTTPError]]:
    """Send a request in a thread that ends with its connection. Return when the function has begun."""
    errors: list[httpx.HTTPError] = []

    def read() -> None:
        try:
            httpx.get(f"{host.client.base_url}{path}", timeout=DEADLINE_S, trust_env=False)
        except httpx.HTTPError as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    host.await_text(began)
    return thread, errors


def test_nothing_but_http_is_waited_for(connection_string: str, app: Path) -> None:
    """Without HTTP, the process is gone 0.4 to 10 s after SIGTERM, at the platform's own durations.

    A queue function, one in the pool, a timer and a task see no CancelledError and no `finally`. Their messages stay
    invisible for the rest of the 600 s.
    """
    with running(app, AzureWebJobsStorage=connection_string) as host:
        begin_everything(host, connection_string)
        began = time.monotonic()
        host.process.terminate()
        assert host.process.wait(DEADLINE_S) == 0
        assert 0.4 <= time.monotonic() - began < 13
    assert not any(f"{name} {end}" in host.written for name in CUT for end in ("ended", "stopped", "finally"))
    for name in ("slow", "stuck"):
        assert length(connection_string, name) == 1
        with closing(queue(connection_string, name)) as client:
            assert client.peek_messages() == []


def test_http_in_flight_has_30_s(connection_string: str, app: Path) -> None:
    """At the platform's own durations, a stream is reset 30 s after SIGTERM, and the process ends up to 10 s later."""
    with running(app, AzureWebJobsStorage=connection_string) as host:
        thread, errors = read_until_reset(host, "/api/stream?s=600", "stream began")
        began = time.monotonic()
        host.process.terminate()
        thread.join(DEADLINE_S)
        assert 29 < time.monotonic() - began < 35
        host.process.wait(DEADLINE_S)
        assert 30.3 < time.monotonic() - began < 45
    assert [type(error) for error in errors] == [httpx.ReadError]


def test_new_connections_are_refused_at_once(connection_string: str, app: Path) -> None:
    """While requests in flight still have time, no new connection is accepted, and a used one is closed."""
    with running(app, 0.1, AzureWebJobsStorage=connection_string) as host:
        host.client.post("/api/task")
        thread, _ = read_until_reset(host, "/api/stream?s=600", "stream began")
        host.process.terminate()
        until(lambda: is_refused(host))
        assert host.process.poll() is None
        with pytest.raises(httpx.TransportError):
            host.client.post("/api/task")
        thread.join(DEADLINE_S)


def test_a_stream_that_ends_in_time_ends_well(connection_string: str, app: Path) -> None:
    """A response in flight that needs less than the 30 s arrives completely."""
    with running(app, 0.1, AzureWebJobsStorage=connection_string) as host:
        with host.client.stream("GET", "/api/stream?s=1") as answer:
            chunks = answer.iter_raw()
            assert next(chunks) == b"first"
            host.process.terminate()
            assert list(chunks) == [b"last"]
        assert host.process.wait(DEADLINE_S) == 0


def test_a_reset_is_heard_as_a_clients_leaving(connection_string: str, app: Path) -> None:
    """The body of a reset response gets a CancelledError, and a waiting handler hears `http.disconnect`.

    The clients see an error. All else is cut without a word.
    """
    with running(app, 0.1, AzureWebJobsStorage=connection_string) as host:
        begin_everything(host, connection_string)
        readers = [
            read_until_reset(host, "/api/stream?s=600", "stream began"),
            read_until_reset(host, "/api/hearing", "hearing began"),
        ]
        host.process.terminate()
        for thread, errors in readers:
            thread.join(DEADLINE_S)
            assert len(errors) == 1
        assert host.process.wait(DEADLINE_S) == 0
    for heard in ("stream stopped CancelledError", "stream finally", "hearing heard http.disconnect"):
        assert heard in host.written
    assert not any(f"{name} {end}" in host.written for name in CUT for end in ("ended", "stopped", "finally"))


def test_queues_are_served_until_the_end(connection_string: str, app: Path) -> None:
    """While HTTP in flight has its time after SIGTERM, messages are received and their functions run."""
    with running(app, 0.3, AzureWebJobsStorage=connection_string) as host:
        thread, _ = read_until_reset(host, "/api/stream?s=600", "stream began")
        host.process.terminate()
        until(lambda: is_refused(host))
        put(connection_string, "slow", b"0")
        host.await_text("queue ended")
        until(lambda: length(connection_string, "slow") == 0)
        thread.join(DEADLINE_S)


def test_ctrl_c_ends_the_host_at_once(connection_string: str, app: Path) -> None:
    """SIGINT comes from a person, who waits for nothing: the host does not wait for HTTP either, also after SIGTERM."""
    with running(app, AzureWebJobsStorage=connection_string) as host:
        begin_everything(host, connection_string)
        thread, errors = read_until_reset(host, "/api/stream?s=600", "stream began")
        host.process.terminate()
        until(lambda: is_refused(host))
        began = time.monotonic()
        host.process.send_signal(signal.SIGINT)
        assert host.process.wait(DEADLINE_S) == 0
        assert time.monotonic() - began < 5
        thread.join(DEADLINE_S)
    assert len(errors) == 1
    assert "finally" not in host.written


def until(holds: Callable[[], object]) -> None:
    """Return once the condition holds, and fail at the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
