"""HTTP on the local host where Azure's own host differs from a plain web server. Each answer was seen on 4.1037.0."""

import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import httpx
import pytest

from local.stack.process import wait_for
from tests.support.host_process import DEADLINE_S, RunningHost, listening, running, write_app

APP = r"""
    import asyncio
    import azure.functions as func
    from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response, StreamingResponse

    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.route(route="items/{id}", methods=["GET"])
    async def items(req: Request) -> JSONResponse:
        raw = req.scope["raw_path"].decode()
        return JSONResponse({"id": req.path_params["id"], "raw": raw, "q": req.query_params["q"]})

    @app.route(route=r"bounded/{id:regex(^\S*\z)}", methods=["GET"])
    async def bounded(req: Request) -> str:
        return req.path_params["id"]

    @app.route(route="unbounded/{id}")
    async def unbounded(req: Request) -> str:
        return req.path_params["id"]

    @app.route(route="echo", methods=["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
    async def echo(req: Request) -> JSONResponse:
        return JSONResponse({"method": req.method, "size": len(await req.body())})

    @app.route(route="raise", methods=["GET"])
    async def raises(req: Request) -> Response:
        raise ValueError("secret-detail")

    @app.route(route="break", methods=["GET"])
    async def breaks(req: Request) -> StreamingResponse:
        async def body():
            for number in range(3):
                yield f"data: {number}\n\n".encode()
            raise RuntimeError("cut")
        return StreamingResponse(body(), media_type="text/event-stream")

    @app.route(route="silent", methods=["GET", "POST"])
    async def silent(req: Request) -> Response:
        try:
            print("silent began", flush=True)
            await asyncio.sleep(1)
            print("silent ended", await req.is_disconnected(), flush=True)
        except BaseException as error:
            print("silent stopped", type(error).__name__, flush=True)
            raise
        return Response()

    @app.route(route="hearing", methods=["GET", "POST"])
    async def hearing(req: Request) -> Response:
        await req.body()
        print("hearing began", flush=True)
        message = await req.receive()
        print("hearing heard", message["type"], flush=True)
        return Response()

    @app.route(route="drip", methods=["GET"])
    async def drip(req: Request) -> StreamingResponse:
        async def body():
            try:
                yield b"first"
                await asyncio.Event().wait()
            except BaseException as error:
                print("drip stopped", type(error).__name__, flush=True)
                raise
        return StreamingResponse(body())

    @app.route(route="statuses/{code}", methods=["GET"])
    async def statuses(req: Request) -> Response:
        return Response(status_code=int(req.path_params["code"]), headers={"retry-after": "7"})
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """Run a host over the app, without a prefix of its routes."""
    with running(write_app(tmp_path_factory.mktemp("platform"), APP, routePrefix="")) as host:
        yield host


def leave(host: RunningHost, method: str, path: str, once: str) -> None:
    """Send a request, and close its connection when the host has written the text."""
    times = host.written.count(once)
    connection = HTTPConnection(host.client.base_url.host, host.client.base_url.port or 80, timeout=DEADLINE_S)
    connection.request(method, path)
    host.await_text(once, times + 1)
    connection.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND"])
def test_a_wrong_method_is_404(host: RunningHost, method: str) -> None:
    """A method that the route does not name gets a 404 with an empty body, never a 405."""
    answer = host.client.request(method, "/items/a")
    assert (answer.status_code, answer.content) == (404, b"")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_seven_methods_reach_a_function(host: RunningHost, method: str) -> None:
    """A function can be called with each of the extension's seven methods."""
    answer = host.client.request(method, "/echo")
    assert answer.status_code == 200
    assert method == "HEAD" or answer.json() == {"method": method, "size": 0}


@pytest.mark.parametrize(
    ("sent", "identifier", "raw"),
    [
        ("a%2Fb", "a%2Fb", "a%252Fb"),
        ("a%2fb", "a%2fb", "a%252fb"),
        ("a%20b", "a b", "a%20b"),
        ("a+b", "a+b", "a+b"),
        ("%C3%A9", "é", "%C3%A9"),
        ("%FF", "%FF", "%25FF"),
        ("%2Fa%20%2F", "%2Fa %2F", "%252Fa%20%252F"),
    ],
)
def test_an_escaped_slash_stays_escaped(host: RunningHost, sent: str, identifier: str, raw: str) -> None:
    """`%2F` in a path is no separator. It arrives as `%252F`, and other escapes arrive as they mean."""
    assert host.client.get(f"/items/{sent}?q=%2F").json() == {
        "id": identifier,
        "raw": f"/items/{raw}",
        "q": "/",
    }


@pytest.mark.parametrize("identifier", ["a%20b", "a%0A", "%09", "a%C2%A0b", "a%E2%80%A8"])
def test_a_constraint_keeps_white_space_out(host: RunningHost, identifier: str) -> None:
    """A value that the route's regular expression refuses gets a 404 with an empty body: no function is called."""
    answer = host.client.get(f"/bounded/{identifier}")
    assert (answer.status_code, answer.content) == (404, b"")


def test_a_constraint_lets_every_other_value_through(host: RunningHost) -> None:
    """A value without white space reaches the function, whatever else it contains."""
    for identifier in ("resp_1", "%2F", "%FF", "%3Cscript%3E", "a" * 2_000):
        assert host.client.get(f"/bounded/{identifier}").status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("TRACE", "a", 405), ("GET", "a%0Ab", 404)])
def test_a_call_that_reaches_no_function_is_left_open(host: RunningHost, method: str, path: str, status: int) -> None:
    """What a route lets through and the extension does not serve is answered, and its invocation never ends."""
    answer = host.client.request(method, f"/unbounded/{path}")
    assert answer.status_code == status
    host.await_text(f"invocation.never_ends name=unbounded method={method}")


def test_a_raising_handler_is_a_plain_500(host: RunningHost) -> None:
    """The answer is a text that tells nothing. To the host, the invocation has not failed."""
    answer = host.client.get("/raise")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    host.await_text("handler.raised name=raises")
    assert "function.failed" not in host.written


def test_a_raising_stream_ends_uncleanly(host: RunningHost) -> None:
    """The client gets all events before the exception, and then an error instead of an end."""
    events: list[bytes] = []
    with host.client.stream("GET", "/break") as answer, pytest.raises(httpx.RemoteProtocolError):
        events.extend(answer.iter_raw())
    assert b"".join(events) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_a_client_that_leaves_cancels_the_body(host: RunningHost) -> None:
    """The generator of a response gets a CancelledError at once."""
    with host.client.stream("GET", "/drip") as answer:
        assert next(answer.iter_raw()) == b"first"
    left = time.monotonic()
    host.await_text("drip stopped CancelledError")
    assert time.monotonic() - left < 5


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_client_that_leaves_does_not_stop_a_handler(host: RunningHost, method: str) -> None:
    """A handler that has not answered runs on to its end. It learns only then that the client has left."""
    ended = host.written.count("silent ended True")
    leave(host, method, "/silent", "silent began")
    host.await_text("silent ended True", ended + 1)
    assert "silent stopped" not in host.written


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_handler_hears_by_receive_that_its_client_has_left(host: RunningHost, method: str) -> None:
    """A handler that waits for `receive()` learns it at once."""
    heard = host.written.count("hearing heard http.disconnect")
    leave(host, method, "/hearing", "hearing began")
    left = time.monotonic()
    host.await_text("hearing heard http.disconnect", heard + 1)
    assert time.monotonic() - left < 5


@pytest.mark.parametrize("status", [204, 304, 429, 503])
def test_a_status_passes_unchanged(host: RunningHost, status: int) -> None:
    """Each status and its `Retry-After` arrive as the function has set them."""
    answer = host.client.get(f"/statuses/{status}")
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "7")


def test_the_root_is_the_hosts_own_page(host: RunningHost) -> None:
    """`/` is a page of the host."""
    answer = host.client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


ROOT_APP = """
    import azure.functions as func
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.route(route="{*path}", methods=["GET"])
    def everything(req: func.HttpRequest) -> str:
        return "the app's"

    @app.route(route=r"{*path:regex(^\\S*\\z)}", methods=["POST"])
    def bounded(req: func.HttpRequest) -> str:
        return "the app's"
"""


def test_the_homepage_can_be_disabled(tmp_path: Path) -> None:
    """With AzureWebJobsDisableHomepage, `/` goes to the app. If no route matches, it is an empty 204."""
    app = write_app(tmp_path, ROOT_APP, routePrefix="")
    with running(app, AzureWebJobsDisableHomepage="true") as host:
        assert host.client.get("/").text == "the app's"
        unmatched = host.client.post("/")
        assert (unmatched.status_code, unmatched.content) == (204, b"")


SLOW_APP = """
    import pathlib, time
    while not pathlib.Path(__file__).with_name("go").exists():
        time.sleep(0.01)
    import azure.functions as func
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.route(route="{*path}", methods=["GET"])
    def everything(req: func.HttpRequest) -> str:
        return "loaded"
"""


def test_every_call_is_an_empty_404_until_the_app_is_loaded(tmp_path: Path) -> None:
    """A host that starts answers for routes that it does not know yet. Once it has answered, it goes on answering."""
    with listening(write_app(tmp_path, SLOW_APP, routePrefix="")) as host:
        for path in ("/", "/any", "/health/ready"):
            answer = host.client.get(path)
            assert (answer.status_code, answer.content) == (404, b"")
        answers: list[int] = []
        Thread(target=(tmp_path / "go").touch).start()

        def is_loaded() -> bool:
            answers.append(host.client.get("/any").status_code)
            return answers[-1] == 200

        assert wait_for(is_loaded, DEADLINE_S), host.written
        assert set(answers[:-1]) <= {404}
        assert {host.client.get("/any").status_code for _ in range(100)} == {200}
