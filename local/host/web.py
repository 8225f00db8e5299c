"""HTTP triggers: an ASGI application over the app's routes."""

import hmac
import logging
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local.host.functions import Function
from local.host.http_styles import Exchange
from local.host.invocation import Invoker
from local.host.routes import Route, find

logger = logging.getLogger(__name__)


class WebApp:
    """Answers requests as the platform's front end does: find the route, check the key, call the function.

    Without a `key`, every request is allowed, as in the Core Tools.
    """

    def __init__(self, routes: Sequence[Route], exchange: Exchange, invoker: Invoker, key: str | None) -> None:
        self._routes = routes
        self._exchange = exchange
        self._invoker = invoker
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. A client that disconnects from a stream cancels it."""
        response = await self._answer(scope, receive)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        found = find(self._routes, scope["method"], scope["path"])
        if found is None:
            return Response(status_code=204 if scope["path"] == "/" else 404)
        route, parameters = found
        request = Request({**scope, "path_params": dict(parameters)}, receive)
        if not self._is_allowed(route, request):
            return Response(status_code=401)
        return await self._run(route.function, request)

    def _is_allowed(self, route: Route, request: Request) -> bool:
        if route.is_anonymous or self._key is None:
            return True
        return hmac.compare_digest(_presented_key(request.headers, request.query_params).encode(), self._key.encode())

    async def _run(self, function: Function, request: Request) -> Response:
        try:
            argument = await self._exchange.argument(function, request)
            return self._exchange.response(await self._invoker.invoke(function, argument))
        except Exception:
            logger.exception("function.failed name=%s", function.name)
            return Response(status_code=500, headers={"connection": "close"})


def _presented_key(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    return headers.get("x-functions-key") or query.get("code", "")
