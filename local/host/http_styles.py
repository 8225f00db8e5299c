"""The two styles of HTTP functions: the FastAPI extension, and the library's own classes."""

import re
from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Protocol
from urllib.parse import parse_qsl

import azure.functions as func
from azure.functions.meta import Datum
from fastapi.encoders import jsonable_encoder
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

from local.host import bindings
from local.host.functions import Function

_SERVED_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_SERVED_PATHS = re.compile(r"^/.*$")
_CLOSE = {"connection": "close"}


class Exchange(Protocol):
    """Converts requests to arguments, and returned values to responses."""

    def refusal(self, scope: Scope) -> Response | None:
        """Return the answer of a server that does not call the function for this request, or else None."""

    async def argument(self, function: Function, request: Request) -> object:
        """Return the argument that the function is called with."""

    def response(self, returned: object) -> Response:
        """Return the response to send. Raise TypeError for a value that is not a response."""

    def failure(self) -> tuple[str, Response]:
        """Return what to log and to answer if the function raises."""


class StreamingExchange:
    """The FastAPI extension: functions receive the request itself and return a response, streamed or not."""

    def refusal(self, scope: Scope) -> Response | None:
        """Refuse what the extension's route does not match. On the platform, that invocation never ends."""
        if not _SERVED_PATHS.match(scope["path"]):
            return JSONResponse({"detail": "Not Found"}, 404)
        return None if scope["method"] in _SERVED_METHODS else JSONResponse({"detail": "Method Not Allowed"}, 405)

    async def argument(self, function: Function, request: Request) -> object:  # noqa: ARG002 - the protocol's
        """Return the request unchanged. The function may read its body."""
        return request

    def response(self, returned: object) -> Response:
        """Return a response unchanged. Any other value becomes a JSON response, as in FastAPI."""
        return returned if isinstance(returned, Response) else JSONResponse(jsonable_encoder(returned))

    def failure(self) -> tuple[str, Response]:
        """Answer as uvicorn does. To the host, the invocation has succeeded."""
        return "handler.raised", PlainTextResponse("Internal Server Error", 500, _CLOSE)


class BufferedExchange:
    """The library's own classes: the body is read before the call, and the response is written after it, as a whole."""

    def refusal(self, scope: Scope) -> Response | None:  # noqa: ARG002 - the protocol's
        """Return None, because every request reaches its function."""
        return None

    async def argument(self, function: Function, request: Request) -> object:
        """Return a func.HttpRequest, or the body for a parameter annotated as str or bytes."""
        trigger = function.trigger
        datum = Datum(_parts(request, await request.body()), "http")
        return bindings.decode(trigger, function.types[trigger.name], datum, {})

    def response(self, returned: object) -> Response:
        """Return the response for a func.HttpResponse, a str or None."""
        if returned is None:
            return Response(status_code=204)
        if isinstance(returned, str):
            return PlainTextResponse(returned)
        if not isinstance(returned, func.HttpResponse):
            raise TypeError(f"an HTTP function returned a {type(returned).__name__}")
        return _response(bindings.encode("http", None, returned))

    def failure(self) -> tuple[str, Response]:
        """Answer without a body. The invocation has failed."""
        return "function.failed", Response(status_code=500, headers=_CLOSE)


def _parts(request: Request, body: bytes) -> dict[str, object]:
    """Return the request as the platform passes it to its worker. Empty query values are dropped."""
    return {
        "method": Datum(request.method, "string"),
        "url": Datum(str(request.url), "string"),
        "headers": _data({name: ",".join(request.headers.getlist(name)) for name in request.headers}),
        "params": _data(request.path_params),
        "query": _data(dict(parse_qsl(request.url.query))),
        "body": Datum(body, "bytes"),
    }


def _data(values: Mapping[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}


def _response(datum: Datum) -> Response:
    parts = datum.value
    headers = {name: value.value for name, value in parts["headers"].items()}
    response = Response(parts["body"].value, int(parts["status_code"].value), headers)
    for cookie in parts["cookies"] or []:
        _set(response, cookie)
    return response


def _set(response: Response, cookie: SimpleCookie) -> None:
    for morsel in cookie.values():
        response.headers.append("set-cookie", morsel.OutputString())
