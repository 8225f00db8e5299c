"""A callback receiver that verifies and keeps what it receives: `python -m local.stack.receiver --secret whsec_...`."""

import argparse
import asyncio
import time
from collections import Counter, deque
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.stack.loopback import say, serve

BANNER = "receiver listening on http://127.0.0.1:{port}"
KEPT = 100_000
ARRIVED = "<- "
"""How the line of a callback begins."""

SHOWN = 60  # characters of a field that a line shows


class Switches(BaseModel):
    """The faults of the receiver. All are off by default.

    `fail_first_per_id` counts the callbacks of a webhook id, or of a response where there is none. With `fail_only` it
    holds for this path alone.
    """

    model_config = ConfigDict(extra="forbid")
    fail: int = 0
    fail_first_per_id: int = 0
    fail_only: str | None = None
    status: int = 500
    delay_s: float = 0
    headers: dict[str, str] = {}


class Receiver:
    """Accepts callbacks on every path and lists them at /_received."""

    def __init__(self, secret: str | None) -> None:
        self._webhook = Webhook(secret) if secret else None
        self._received: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._attempts: Counter[str] = Counter()
        self._switches = Switches()

    def app(self) -> Starlette:
        """Return the app."""
        return Starlette(
            routes=[
                Route("/_received", self._list, methods=["GET"]),
                Route("/_received", self._forget, methods=["DELETE"]),
                Route("/_faults", self._change_faults, methods=["POST"]),
                Route("/{path:path}", self._callback, methods=["POST"]),
            ]
        )

    async def _callback(self, request: Request) -> Response:
        received_at = time.time()
        body = await request.body()
        webhook_id = request.headers.get("webhook-id")
        event = _event_fields(body)
        status = self._next_status(request.url.path, webhook_id or str(event["response_id"]))
        callback = {
            "path": request.url.path,
            "webhook_id": webhook_id,
            "traceparent": request.headers.get("traceparent"),
            "verified": self._verified(body, request),
            **event,
            "received_at": received_at,
            "body_bytes": len(body),
            "answered": status,
        }
        self._received.append(callback)
        say(callback_line(callback))
        await asyncio.sleep(self._switches.delay_s)
        return Response(status_code=status, headers=self._switches.headers)

    def _next_status(self, path: str, name: str) -> int:
        """Return the status for the next callback at a path. `name` is what its attempts are counted by."""
        self._attempts[name] += 1
        is_meant = self._switches.fail_only in (None, path)
        if is_meant and self._attempts[name] <= self._switches.fail_first_per_id:
            return self._switches.status
        if self._switches.fail > 0:
            self._switches.fail -= 1
            return self._switches.status
        return 204

    def _verified(self, body: bytes, request: Request) -> bool:
        if self._webhook is None:
            return False
        try:
            self._webhook.verify(body, dict(request.headers), json_parse=False)
        except (WebhookVerificationError, ValueError):  # malformed headers raise ValueError
            return False
        return True

    async def _list(self, _request: Request) -> Response:
        return _json(list(self._received))

    async def _forget(self, _request: Request) -> Response:
        self._received.clear()
        self._attempts.clear()
        return _json([])

    async def _change_faults(self, request: Request) -> Response:
        """Set the switches that a JSON object names and keep the others. Answer 400 if one is unknown or invalid."""
        try:
            changed = self._switches.model_dump() | orjson.loads(await request.body())
            self._switches = Switches.model_validate(changed)
        except (TypeError, ValueError) as error:
            return Response(str(error), status_code=400)
        return _json(self._switches.model_dump())


def _event_fields(body: bytes) -> dict[str, object]:
    """Return the event's type and response id. Both are None if the body is not an event."""
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        event = None
    match event:
        case {"type": kind, "data": {"id": response_id}}:
            return {"type": kind, "response_id": response_id}
    return {"type": None, "response_id": None}


def callback_line(callback: dict[str, Any]) -> str:
    """Return the line that shows a callback: `<- response.completed resp_… verified 204`."""
    names = (callback["type"], callback["response_id"])
    shown = " ".join(_printable(name) for name in names if name is not None) or "no event"
    trust = "verified" if callback["verified"] else "NOT VERIFIED"
    return f"{ARRIVED}{shown} {trust} {callback['answered']}"


def _printable(name: object) -> str:
    """Return a field of a callback as text of one line. Anyone on this machine can send one."""
    return "".join(one if one.isprintable() else "?" for one in str(name)[:SHOWN])


def _json(body: object) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")


def main() -> None:
    """Serve until a signal stops the process."""
    parser = argparse.ArgumentParser(prog="local.stack.receiver", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (default) takes a free one")
    parser.add_argument("--secret", help="whsec_... that callbacks are signed with")
    given = parser.parse_args()
    serve(Receiver(given.secret).app(), given.port, BANNER)


if __name__ == "__main__":
    main()
