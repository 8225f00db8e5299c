"""HTTP triggers of the local host: routes, keys, and functions that use the FastAPI extension."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from tests.support.host_process import DEADLINE_S, RunningHost, running, write_app

STREAMING_APP = """
    import asyncio, logging
    import azure.functions as func
    from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response, StreamingResponse

    app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

    @app.route(route="things/{id:int}", methods=["GET"])
    async def number(req: Request) -> JSONResponse:
        return JSONResponse({"id": req.path_params["id"], "q": req.query_params.get("q")})

    @app.route(route="open", auth_level=func.AuthLevel.ANONYMOUS)
    async def visible(req: Request) -> Response:
        return Response(b"open")

    @app.route(route="files/{*rest}", auth_level=func.AuthLevel.ANONYMOUS)
    def tree(req: Request) -> Response:
        return Response(req.path_params.get("rest", "none"))

    @app.route(route="maybe/{name?}", auth_level=func.AuthLevel.ANONYMOUS)
    async def maybe(req: Request):
        return {"name": req.path_params.get("name")}

    @app.route(route="order/{any}", auth_level=func.AuthLevel.ANONYMOUS)
    async def b_general(req: Request) -> Response:
        return Response("general")

    @app.route(route="order/exact", auth_level=func.AuthLevel.ANONYMOUS)
    async def a_exact(req: Request) -> Response:
        return Response("exact")

    @app.route(route="order/late", auth_level=func.AuthLevel.ANONYMOUS)
    async def c_late(req: Request) -> Response:
        return Response("late")

    @app.route(route="upload", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
    async def upload(req: Request) -> JSONResponse:
        return JSONResponse({"size": len(await req.body())})

    @app.route(route="broken", auth_level=func.AuthLevel.ANONYMOUS)
    async def broken(req: Request) -> Response:
        raise RuntimeError("broken on purpose")

    @app.route(route="who", auth_level=func.AuthLevel.ANONYMOUS)
    def who(req: Request, context: func.Context) -> JSONResponse:
        return JSONResponse({"name": context.function_name, "invocation": context.invocation_id})

    gate = asyncio.Event()

    @app.route(route="gate", auth_level=func.AuthLevel.ANONYMOUS)
    async def open_gate(req: Request) -> Response:
        gate.set()
        return Response()

    @app.route(route="stream", auth_level=func.AuthLevel.ANONYMOUS)
    async def stream(req: Request) -> StreamingResponse:
        async def events():
            yield b"first"
            await gate.wait()
            yield b"second"
        return StreamingResponse(events(), media_type="text/event-stream")

    @app.route(route="endless", auth_level=func.AuthLevel.ANONYMOUS)
    async def endless(req: Request) -> StreamingResponse:
        async def events():
            try:
                yield b"first"
                await asyncio.Event().wait()
            finally:
                print("stream left", flush=True)
        return StreamingResponse(events())
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """Run a host with a key over an app that uses the FastAPI extension."""
    app = write_app(tmp_path_factory.mktemp("streaming"), STREAMING_APP)
    with running(app, FUNCTIONS_LOCAL_KEY="local-key") as host:
        yield host


def test_a_function_key_is_required(host: RunningHost) -> None:
    """A request without the key, or with a wrong one, gets a 401 with an empty body."""
    missing = host.client.get("/api/things/1")
    wrong = host.client.get("/api/things/1", headers={"x-functions-key": "wrong"})
    assert [(answer.status_code, answer.content) for answer in (missing, wrong)] == [(401, b"")] * 2


def test_the_key_is_taken_from_header_or_query(host: RunningHost) -> None:
    """The key is accepted in x-functions-key and in ?code=."""
    by_header = host.client.get("/api/things/1", headers={"x-functions-key": "local-key"})
    by_query = host.client.get("/api/things/1?code=local-key&q=x")
    assert by_header.json() == {"id": "1", "q": None}
    assert by_query.json() == {"id": "1", "q": "x"}


def test_an_anonymous_function_needs_no_key(host: RunningHost) -> None:
    """An anonymous function answers every client. Its path is case-insensitive and may end with a slash."""
    assert host.client.get("/api/open").content == b"open"
    assert host.client.get("/API/Open/").content == b"open"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/things/1"), ("GET", "/api/things/one"), ("GET", "/api/none"), ("GET", "/things/1")],
)
def test_a_request_that_matches_no_route_is_404(host: RunningHost, method: str, path: str) -> None:
    """A wrong method, an unmet constraint or an unknown path gets a 404 with an empty body, never a 405."""
    answer = host.client.request(method, path, headers={"x-functions-key": "local-key"})
    assert (answer.status_code, answer.content) == (404, b"")


def test_a_catch_all_takes_the_rest(host: RunningHost) -> None:
    """A catch-all parameter contains all remaining segments, and may be empty."""
    assert host.client.get("/api/files/a/b%20c").text == "a/b c"
    assert host.client.get("/api/files").text == "none"


def test_an_optional_parameter_may_be_missing(host: RunningHost) -> None:
    """An optional parameter is absent if the path ends before it. A returned value becomes JSON."""
    assert host.client.get("/api/maybe/x").json() == {"name": "x"}
    assert host.client.get("/api/maybe").json() == {"name": None}


def test_routes_are_tried_by_function_name(host: RunningHost) -> None:
    """The first function in alphabetical order wins, however general its route."""
    assert host.client.get("/api/order/exact").text == "exact"
    assert host.client.get("/api/order/late").text == "general"


def test_a_chunked_upload_arrives_completely(host: RunningHost) -> None:
    """A body of 300 kB that is sent in chunks without a length is not truncated."""
    chunks = (b"x" * 1000 for _ in range(300))
    assert host.client.post("/api/upload", content=chunks).json() == {"size": 300_000}


def test_an_unhandled_exception_is_a_plain_500(host: RunningHost) -> None:
    """The exception is logged on one line. The answer is the text of a web server, and the connection is closed."""
    answer = host.client.get("/api/broken")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert answer.headers["connection"] == "close"
    host.await_text("handler.raised name=broken")
    (line,) = [line for line in host.written.splitlines() if "handler.raised" in line]
    assert "RuntimeError: broken on purpose" in line


def test_the_context_is_injected(host: RunningHost) -> None:
    """A function that takes the context receives its name and, for each call, a new invocation id."""
    first, second = (host.client.get("/api/who").json() for _ in range(2))
    assert first["name"] == "who"
    assert first["invocation"] != second["invocation"]


def test_a_stream_arrives_chunk_by_chunk(host: RunningHost) -> None:
    """The first chunk arrives before the function produces the second one."""
    with host.client.stream("GET", "/api/stream") as answer:
        chunks = answer.iter_raw()
        assert next(chunks) == b"first"
        host.client.get("/api/gate")
        assert next(chunks) == b"second"


def test_a_client_that_disconnects_cancels_its_stream(host: RunningHost) -> None:
    """The generator of a stream is cancelled when its client has disconnected."""
    with host.client.stream("GET", "/api/endless") as answer:
        assert next(answer.iter_raw()) == b"first"
    host.await_text("stream left")


def test_a_connection_is_reused(host: RunningHost) -> None:
    """A second request uses the connection of the first."""
    connection = HTTPConnection(host.client.base_url.host, host.client.base_url.port, timeout=DEADLINE_S)
    with closing(connection):
        for _ in range(2):
            connection.request("GET", "/api/open")
            answer = connection.getresponse()
            assert (answer.status, answer.read(), answer.will_close) == (200, b"open", False)


def test_concurrent_requests_are_all_answered(host: RunningHost) -> None:
    """300 requests over up to 20 connections all get an answer."""

    async def ask() -> list[int]:
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(base_url=host.client.base_url, limits=limits, timeout=DEADLINE_S) as client:
            answers = await asyncio.gather(*(client.get("/api/open") for _ in range(300)))
        return [answer.status_code for answer in answers]

    started = time.monotonic()
    assert set(asyncio.run(ask())) == {200}
    assert time.monotonic() - started < DEADLINE_S


def test_the_host_answers_while_storage_is_unreachable(tmp_path: Path) -> None:
    """Requests are answered even if the queues cannot be reached, until the host gives up."""
    source = """
        import azure.functions as func
        app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

        @app.route(route="open")
        def open_(req: func.HttpRequest) -> str:
            return "open"

        @app.queue_trigger(arg_name="msg", queue_name="some-queue", connection="AzureWebJobsStorage")
        def queued(msg: str) -> None:
            pass
    """
    nobody = "AccountName=x;AccountKey=eA==;QueueEndpoint=http://127.0.0.1:1/x"
    with running(write_app(tmp_path, source), AzureWebJobsStorage=nobody) as host:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert host.client.get("/api/open").text == "open"
