"""What of an app's output the local host passes on, as the platform does."""

import pytest

from tests.support.host_process import RunningHost, running, write_app

APP = """
    import asyncio, logging, sys, threading
    import azure.functions as func
    from azurefunctions.extensions.http.fastapi import Request, StreamingResponse

    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    kept = set()

    def say(where):
        logging.getLogger("of.the.app").error("LOG-" + where)
        for stream, name in (sys.stdout, "OUT-"), (sys.stderr, "ERR-"):
            stream.write(name + where + "\\n")  # in one write, because the host writes at the same time
            stream.flush()

    say("at-import")

    @app.route(route="told", methods=["GET"])
    async def told(req: Request) -> StreamingResponse:
        say("in-function")
        loop = asyncio.get_running_loop()
        returned = asyncio.Event()

        async def task():
            say("in-task-meanwhile")
            await returned.wait()
            say("in-task-after-end")
            await asyncio.to_thread(say, "in-thread-after-end")

        kept.add(loop.create_task(task()))
        await asyncio.sleep(0.05)

        async def body():
            say("in-stream")
            yield b"a"
            returned.set()
            await asyncio.gather(*kept)
            loop.call_soon(say, "in-callback-after-end")
            await asyncio.sleep(0)
            thread = threading.Thread(target=say, args=["in-new-thread"])
            thread.start()
            await asyncio.to_thread(thread.join)
            yield b"b"

        return StreamingResponse(body())

    @app.route(route="pooled", methods=["GET"])
    def pooled(req: Request) -> str:
        say("in-pool")
        return "done"
"""
DROPPED = (
    *("at-import", "in-stream", "in-task-after-end", "in-thread-after-end", "in-callback-after-end"),
    "in-new-thread",
)
PASSED_ON = ("in-function", "in-task-meanwhile", "in-pool")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> RunningHost:
    """Return a host that has run both functions to their ends. It has written all that it ever will."""
    with running(write_app(tmp_path_factory.mktemp("told"), APP)) as host:
        assert host.client.get("/api/told").content == b"ab"
        assert host.client.get("/api/pooled").json() == "done"
        return host


@pytest.mark.parametrize("where", PASSED_ON)
def test_a_record_of_a_running_function_is_passed_on(host: RunningHost, where: str) -> None:
    """A record of `logging` arrives while its function runs, also from its tasks and from a function in the pool."""
    assert f"ERROR of.the.app LOG-{where}\n" in host.written


@pytest.mark.parametrize("where", DROPPED)
def test_a_record_outside_a_running_function_is_dropped(host: RunningHost, where: str) -> None:
    """A function's records end when it returns: its stream, tasks, callbacks and threads log nothing."""
    assert f"LOG-{where}" not in host.written


@pytest.mark.parametrize("where", [*PASSED_ON, *DROPPED])
def test_standard_output_and_error_are_kept(host: RunningHost, where: str) -> None:
    """Each line on standard output and standard error arrives, wherever it was written."""
    assert f"OUT-{where}\n" in host.written
    assert f"ERR-{where}\n" in host.written
