"""Reply queues: the terminal event as a message on a queue that the deployment allows."""

import asyncio
import base64
import time
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from azure.core.exceptions import AzureError, HttpResponseError

from shared.contract.requests import is_queue_name
from shared.core.outcomes import Answer, SendError
from shared.senders.admission import Admission, Outlook
from shared.storage.messages import INTERNAL, PLATFORM, POISON
from shared.storage.queues import DEADLINE_S, KEPT_S

if TYPE_CHECKING:  # its import is slow: shared/bootstrap.py
    from azure.storage.queue.aio import QueueServiceClient


def is_allowed(name: str, patterns: tuple[str, ...]) -> bool:
    """Return whether callers may name the queue.

    It must match a pattern of the deployment, with the wildcards of `fnmatch`, and must not be one of our own queues.
    Nor may it be one of the platform, or the poison queue of another one, whose messages nobody asked for.
    """
    is_barred = name in INTERNAL or name.endswith(POISON) or name.startswith(PLATFORM) or not is_queue_name(name)
    return not is_barred and any(fnmatchcase(name, pattern) for pattern in patterns)


class ReplySender:
    """Sends events to reply queues of the deployment's own storage account."""

    def __init__(self, queues: "QueueServiceClient") -> None:
        self._queues = queues

    async def vet(self, address: str) -> None:
        """Accept every queue. A missing one is found only when an event is sent."""

    def admit(
        self,
        _address: str,
        _caller: str,
        *,
        first: bool,  # noqa: ARG002 - every message is sent at once
        patience_s: float,  # noqa: ARG002
    ) -> AbstractAsyncContextManager[Admission]:
        """Admit every attempt, because all queues are on one account."""
        return nullcontext(Admission())

    def host(self, _address: str) -> str:
        """Return an empty string, because all queues are on one account."""
        return ""

    def outlook(self, _host: str, _caller: str, *, first: bool) -> Outlook:  # noqa: ARG002 - the same for both
        """Return that nothing holds an attempt up."""
        return Outlook(0, is_long=False, is_free=True)

    async def post(
        self,
        address: str,
        _headers: Mapping[str, str],
        body: bytes,
        *,
        hosts: Collection[str] = (),  # noqa: ARG002 - a queue has none
    ) -> Answer:
        """Send one message, in base64 as the Functions runtime reads it.

        Never raises, because every fault of storage is an answer. A queue that does not exist is a 404.
        """
        started = time.monotonic()
        status, error = None, None
        try:
            async with asyncio.timeout(DEADLINE_S), self._queues.get_queue_client(address) as queue:
                await queue.send_message(base64.b64encode(body).decode(), time_to_live=KEPT_S)
                status = 201
        except TimeoutError:
            error = SendError.TIMEOUT
        except HttpResponseError as refused:
            status = refused.status_code
        except AzureError:
            error = SendError.CONNECT
        return Answer(status, error, None, int((time.monotonic() - started) * 1000))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._queues.close()
