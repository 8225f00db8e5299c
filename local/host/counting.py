"""Answers how often functions were called, for the benchmark. The platform has no such address."""

from collections.abc import Mapping

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

SETTING = "LOCAL_HOST_COUNTS"
PATH = "/_local/invocations"


class Counting:
    """Answers PATH with the number of invocations by type of trigger. Passes every other request on."""

    def __init__(self, app: ASGIApp, invocations: Mapping[str, int]) -> None:
        self._app = app
        self._invocations = invocations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_asked = scope["type"] == "http" and scope["path"] == PATH
        answer = Response(orjson.dumps(self._invocations), media_type="application/json") if is_asked else self._app
        await answer(scope, receive, send)
