"""HTTP triggers: an ASGI application over the app's routes."""

import hmac
import logging
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from local.host.forwarding import Forwarding, forwarded
from local.host.functions import Function
from local.host.http_styles import Exchange
from local.host.invocation import Invoker
from local.host.routes import Route, find

logger = logging.getLogger(__name__)


_HOME_PAGE = "<!DOCTYPE html><html><body><h1>Your Functions app is up and running</h1></body></html>"


class Front:
    """What listens for the host. Until the app is loaded, every call gets a 404 with an empty body, afterwards none."""

    def __init__(self) -> None:
        self.app: ASGIApp = Response(status_code=404)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self.app(scope, receive, send)


class WebApp:
    """Answers requests as the platform's front end does: find the route, check the key, call the function.

    The settings may have a key, FUNCTIONS_LOCAL_KEY. Without it, every request is allowed, as in the Core Tools.
    """

    def __init__(
        self, routes: Sequence[Route], exchange: Exchange, invoker: Invoker, environment: Mapping[str, str]
    ) -> None:
        self._routes = routes
        self._exchange = exchange
        self._invoker = invoker
        self._key = environment.get("FUNCTIONS_LOCAL_KEY")
        self._has_home_page = environment.get("AzureWebJobsDisableHomepage", "").lower() != "true"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. The function learns that the client has left only if it calls `receive`.

        The generator of a stream is cancelled then. If it raises, its response ends uncleanly.
        """
        forwarding = Forwarding(receive, send)
        scope = forwarded(scope)
        response = await self._answer(scope, forwarding.receive)
        await response(scope, forwarding.receive, forwarding.send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        if scope["path"] == "/" and self._has_home_page:
            return HTMLResponse(_HOME_PAGE)
        found = find(self._routes, scope["method"], scope["path"])
        if found is None:
            return Response(status_code=204 if scope["path"] == "/" else 404)
        route, parameters = found
        request = Request({**scope, "path_params": dict(parameters)}, receive)
        if not self._is_allowed(route, request):
            return Response(status_code=401)
        if refusal := self._exchange.refusal(scope):
            logger.warning("invocation.never_ends name=%s method=%s", route.function.name, scope["method"])
            return refusal
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
            event, answer = self._exchange.failure()
            logger.exception("%s name=%s", event, function.name)
            return answer


def _presented_key(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    return headers.get("x-functions-key") or query.get("code", "")
