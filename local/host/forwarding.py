"""The host's forwarding of an HTTP request to the process with the functions: its path, and how long it waits.

Observed on host 4.1037.0.
"""

import asyncio
import re
from urllib.parse import quote, unquote

from starlette.types import Message, Receive, Scope, Send

SILENCE_S = 240.0
"""How long the host forwards without a byte in either direction, in seconds."""

_ESCAPES = re.compile(r"(?:%(?!2F)[0-9A-F]{2})+", re.IGNORECASE)
_PLAIN = "/!$&'()*+,;=:@"


def forwarded(scope: Scope) -> Scope:
    """Return the request as the function sees it. An escaped slash stays escaped, and its % is escaped again."""
    path = _ESCAPES.sub(_unescaped, scope["raw_path"].decode("ascii"))
    return {**scope, "path": path, "raw_path": quote(path, safe=_PLAIN).encode()}


def _unescaped(found: re.Match[str]) -> str:
    """Return the text of the escapes, or the escapes themselves if they are not UTF-8."""
    try:
        return unquote(found[0], errors="strict")
    except UnicodeDecodeError:
        return found[0]


class Forwarding:
    """The exchange of one request and its response. After 240 s of silence it ends, as if the client had left.

    The function is not stopped. If it then returns, the client gets a 500 with an empty body. A response that has begun
    ends uncleanly.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._has_begun = False
        self._keep_on()

    async def receive(self) -> Message:
        """Return the next message of the client, or `http.disconnect` when the forwarding ends."""
        while not self._has_ended():
            try:
                async with asyncio.timeout_at(self._end_s):
                    message = await self._receive()
            except TimeoutError:
                continue  # bytes in the other direction may have moved the end
            self._keep_on()
            return message
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass a message on to the client, or refuse it if the forwarding has ended."""
        if self._has_ended():
            await self._refuse()
            return
        self._has_begun = True
        await self._send(message)
        self._keep_on()

    def _keep_on(self) -> None:
        self._end_s = asyncio.get_running_loop().time() + SILENCE_S

    def _has_ended(self) -> bool:
        return asyncio.get_running_loop().time() >= self._end_s

    async def _refuse(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            await self._send({"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"0")]})
            await self._send({"type": "http.response.body"})
