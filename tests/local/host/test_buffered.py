"""HTTP functions of the local host that use the library's own classes."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.host_process import running, write_app

BUFFERED_APP = """
    import json
    import azure.functions as func

    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.route(route="echo/{name}")
    async def echo(req: func.HttpRequest) -> func.HttpResponse:
        seen = {
            "method": req.method, "url": req.url, "header": dict(req.headers).get("x-some"),
            "query": dict(req.params), "name": req.route_params["name"], "body": req.get_body().decode(),
        }
        return func.HttpResponse(json.dumps(seen), status_code=201, headers={"X-Answer": "yes"},
                                 mimetype="application/json")

    @app.route(route="text")
    def text(req: func.HttpRequest) -> str:
        return "just text"

    @app.route(route="nothing")
    def nothing(req: func.HttpRequest):
        return None

    @app.route(route="number")
    def number(req: func.HttpRequest):
        return 7

    @app.route(route="cookies")
    def cookies(req: func.HttpRequest) -> func.HttpResponse:
        response = func.HttpResponse("ok")
        response.headers.add("Set-Cookie", "a=1; Path=/")
        response.headers.add("Set-Cookie", "b=2")
        return response
"""


@pytest.fixture(scope="module")
def buffered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Return a client of a host whose app uses the library's own classes and no route prefix."""
    app = write_app(tmp_path_factory.mktemp("buffered"), BUFFERED_APP, routePrefix="")
    with running(app) as host:
        yield host.client


def test_the_library_request_is_filled_in(buffered: httpx.Client) -> None:
    """func.HttpRequest has the method, the URL, lower-case headers, route and query values, and the body."""
    answer = buffered.post("/echo/x?a=1&empty=", content=b"hello", headers={"X-Some": "value"})
    assert answer.status_code == 201
    assert answer.headers["x-answer"] == "yes"
    assert answer.json() == {
        "method": "POST",
        "url": str(buffered.base_url.join("/echo/x?a=1&empty=")),
        "header": "value",
        "query": {"a": "1"},
        "name": "x",
        "body": "hello",
    }


def test_a_returned_string_is_text(buffered: httpx.Client) -> None:
    """A str is answered as 200 text/plain."""
    answer = buffered.get("/text")
    assert (answer.status_code, answer.text) == (200, "just text")
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_returned_none_is_204(buffered: httpx.Client) -> None:
    """None is answered as 204 without a body."""
    assert buffered.get("/nothing").status_code == 204


def test_a_returned_number_is_an_error(buffered: httpx.Client) -> None:
    """A value that is not a response is a 500, because the platform's worker cannot encode it."""
    assert buffered.get("/number").status_code == 500


def test_every_cookie_is_sent(buffered: httpx.Client) -> None:
    """Several Set-Cookie headers are sent separately."""
    assert buffered.get("/cookies").headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]
