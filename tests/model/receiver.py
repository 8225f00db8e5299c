"""The receiver of callbacks in the model, which all processes share, and the way of a process to it."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from shared.core.outcomes import Answer, SendError
from shared.senders.admission import Admission, AdmissionControl, Outlook
from shared.senders.circuit_breaker import BreakerKey


@dataclass
class Mailbox:
    """The receiver of callbacks. `moods` are its next answers: a status, or 0 for none at all."""

    seen: Callable[[str, Mapping[str, str], dict[str, Any], bool], None]
    moods: deque[int] = field(default_factory=deque)

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """Take an event, and return the status of the answer."""
        status = self.moods.popleft() if self.moods else 200
        event = orjson.loads(body)
        self.seen(event["data"]["id"], headers, event, status == 200)
        return status


class Post:
    """A process's way to the receiver: the product's protocol of a sender, with its own admission of attempts."""

    def __init__(self, mailbox: Mailbox, caller: Any) -> None:
        self._mailbox, self._caller = mailbox, caller
        self._admission = AdmissionControl(caller.clock.now_ms)

    @asynccontextmanager
    async def admit(self, address: str, caller: str, *, first: bool, patience_s: float) -> AsyncIterator[Admission]:
        """Admit an attempt as the sender of callbacks does."""
        key = BreakerKey(caller, self.host(address))
        async with self._admission.admit(key, first=first, patience_s=patience_s) as admission:
            yield admission

    def host(self, address: str) -> str:
        """Return the host of a URL."""
        return urlsplit(address).hostname or ""

    def outlook(self, host: str, caller: str, *, first: bool) -> Outlook:
        """Return what an attempt would meet now."""
        return self._admission.outlook(BreakerKey(caller, host), first=first)

    async def vet(self, _address: str) -> None:
        """Accept every address."""

    async def post(
        self,
        _address: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        hosts: Collection[str] = (),  # noqa: ARG002
    ) -> Answer:
        """Send an event. The answer may be lost."""
        await self._caller.leave()
        status = self._mailbox.receive(headers, body)
        await self._caller.leave()
        return Answer(status, None, None, 1) if status else Answer(None, SendError.TIMEOUT, None, 1)

    async def aclose(self) -> None:
        """Close nothing."""
