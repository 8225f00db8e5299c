"""The operations of the document are the routes of the app, both ways, and have the parameters that the code reads."""

import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import urlencode

import azure.functions as func
import pytest
from azurefunctions.extensions.http.fastapi import Request, Response
from starlette.datastructures import Headers, QueryParams

from functions import console, http
from functions.answers import Answer, Handle
from functions.description import BASES, openapi
from shared.contract.callers import Caller
from shared.core.errors import ServiceError
from shared.relayed.conversations import LISTED, ConversationCall
from shared.runtime.quotas import Entrance, Quotas
from tests.support.described_api import DOCUMENT, operation_named, operations, parameters_of

ID = "resp_0123456789abcdef0123456789abcdef"
ANN = Caller("ann", (), (), is_operator=True)
HANDLES: dict[str, Handle] = {name: handle for name, _, _, handle in http.ROUTES}


async def page(req: Request) -> Response:
    """Return the page, as its functions do where the console is on."""
    return console.sent(req, console.PAGE)


PUBLIC: dict[str, Answer] = {"openapi": openapi, "console": page, "console_file": page}
# What the operations have in common, or what the document says in another way: the key, the body and what is traced.
ELSEWHERE = {"authorization", "api-key", "x-functions-key", "content-type", "content-length", "user-agent"}
COMMON = {"content-encoding", "traceparent"}


def routes() -> dict[tuple[str, str], set[str]]:
    """Return the bases of each function, by its name, its method and its path below them."""
    app, found = func.FunctionApp(), dict[tuple[str, str], set[str]]()
    app.register_functions(http.blueprint)
    for function in app.get_functions():
        name, trigger = str(function.get_function_name()), json.loads(function.get_raw_bindings()[0])
        if name != "unmatched":
            path = re.sub(r":regex\([^{}]+\)", "", trigger["route"])
            base = next((one for one in BASES.values() if path.startswith(f"{one}/")), "")
            call = f"{' '.join(trigger['methods'])} /{path.removeprefix(base).lstrip('/')}"
            found.setdefault((re.sub(r"(_root|_v1|_azure)$", "", name), call), set()).add(base)
    return found


def test_every_route_of_the_app_is_an_operation_and_the_reverse() -> None:
    """With the name of its function, its method, its path and the bases under which it is served."""
    described = {
        (operation["operationId"], f"{method} {path}"): {
            server["url"].strip("/") for server in DOCUMENT["paths"][path].get("servers", DOCUMENT["servers"])
        }
        for path, method, operation in operations()
    }
    assert described == routes()


def test_every_parameter_of_a_path_is_documented() -> None:
    """And it stands in the path."""
    for path, _, operation in operations():
        assert re.findall(r"\{(\w+)\}", path) == [*parameters_of(operation, "path")]


class ReadNames:
    """The names of the query parameters and of the headers that a handler has read."""

    def __init__(self) -> None:
        self.query: set[str] = set()
        self.headers: set[str] = set()


class Query(QueryParams):
    """Query parameters that note which of them are read."""

    names: set[str]

    def __getitem__(self, name: str) -> Any:
        """Return a parameter, and note that."""
        self.names.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        """Return whether there is a parameter, and note that."""
        self.names.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a parameter or the default, and note that."""
        self.names.add(name)
        return super().get(name, default)

    def getlist(self, name: Any) -> list[Any]:
        """Return all values of a parameter, and note that."""
        self.names.add(str(name))
        return super().getlist(name)


class Lines(Headers):
    """Headers that note which of them are read."""

    names: set[str]

    def __getitem__(self, name: str) -> str:
        """Return a header, and note that."""
        self.names.add(name.lower())
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header or the default, and note that."""
        self.names.add(name.lower())
        return super().get(name, default)

    def getlist(self, name: str) -> list[str]:
        """Return all lines of a header, and note that."""
        self.names.add(name.lower())
        return super().getlist(name)


class Watched(Request):  # type: ignore[misc]  # the extension has no types
    """A request that notes what is read of it."""

    def __init__(self, read: ReadNames, method: str, query: dict[str, str], path: dict[str, str]) -> None:
        headers = [(b"user-agent", b"azsdk-net-x")]
        scope = {"type": "http", "method": method, "path": "/", "headers": headers, "path_params": path}
        super().__init__({**scope, "query_string": urlencode(query).encode()}, self._receive_body)
        self._query = Query(urlencode(query))
        self._lines = Lines(raw=headers)
        self._query.names, self._lines.names = read.query, read.headers

    @staticmethod
    async def _receive_body() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    @property
    def query_params(self) -> Query:
        """The query parameters."""
        return self._query

    @property
    def headers(self) -> Lines:
        """The headers."""
        return self._lines


class Reached(Exception):
    """A handler has called the engine."""


class Deaf:
    """An engine that does nothing. A call of it shows what the handler has read for it, and ends the handler."""

    def __init__(self) -> None:
        self.quotas = Quotas(lambda: 0.0)
        self.entrance = Entrance()
        self.this_day = lambda: date(2027, 1, 31)

    def __getattr__(self, name: str) -> Any:
        """Return the same for every other part of the engine, or the call that ends the handler."""
        return self if name in ("lists", "operators") else self._called

    async def _called(self, *given: Any) -> None:
        for one in given:
            if isinstance(one, ConversationCall):
                assert one.path
        raise Reached


def queries(documented: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield queries: an empty one, one of a stream, and one with every documented parameter."""
    values = {"stream": "true", "from": "2027-01-01", "to": "2027-01-02", "dry_run": "true", "limit": "5"}
    times = dict.fromkeys(("before", "since", "until", "created_after"), "5")
    known = {**values, **times, "status": "queued", "state": "failed", "order": "asc", "caller": "ann", "since": "5"}
    whole = {name: known.get(name, "x") for name in documented if name != "after"}
    yield from ({}, whole, {**whole, "stream": "false"})


async def read_by(name: str) -> ReadNames:
    """Return what the handler of an operation reads of requests."""
    operation, read = operation_named(name), ReadNames()
    method = next(method for _, method, one in operations() if one is operation)
    for query in queries(parameters_of(operation, "query")):
        request = Watched(read, method, query, {"id": ID, "item": "msg_1"})
        engine: Any = Deaf()
        try:
            await (PUBLIC[name](request) if name in PUBLIC else HANDLES[name](engine, ANN, request))
        except (Reached, ServiceError):
            continue
    return read


@pytest.mark.parametrize("name", [*HANDLES, *PUBLIC])
async def test_every_parameter_that_is_read_is_documented_and_the_reverse(name: str) -> None:
    """Those of the query, and the headers."""
    read, operation = await read_by(name), operation_named(name)
    documented = {*parameters_of(operation, "query")}
    passed_on = {*LISTED} if "/conversations/" in next(p for p, _, o in operations() if o is operation) else set()
    assert read.query - passed_on == documented - passed_on
    assert documented & passed_on <= read.query
    told = {one.lower() for one in parameters_of(operation, "header")} - COMMON
    assert read.headers - ELSEWHERE - COMMON == told


def test_what_a_list_of_items_passes_on_is_documented() -> None:
    """The code passes these parameters on for every call about a conversation. They mean something where they stand."""
    assert {*parameters_of(operation_named("list_items"), "query")} == {*LISTED}
