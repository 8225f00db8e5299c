"""Azure Queue Storage for the host: one client per account, and the tries that the platform gives an operation."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    IncompleteReadError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestTimeoutError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local.host.addresses import QueueAddress
from local.host.errors import LoadError
from local.host.queue_policy import retry_pauses_s

_CONNECT_S = 5
_READ_S = 100  # the network timeout of Azure.Core
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_SETTLED_BY_OTHERS = frozenset({400, 404, 409})

_Answer = TypeVar("_Answer")


class QueueStorage:
    """The queues that the app uses. Closing it closes their connections."""

    def __init__(self) -> None:
        self._accounts: dict[str, QueueServiceClient] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for account in self._accounts.values():
            await account.close()

    def queue(self, address: QueueAddress) -> QueueClient:
        """Return a client of the queue. Raise LoadError if the connection string cannot be read."""
        if address.connection not in self._accounts:
            self._accounts[address.connection] = _account(address)
        return self._accounts[address.connection].get_queue_client(address.name)


def _account(address: QueueAddress) -> QueueServiceClient:
    try:
        return QueueServiceClient.from_connection_string(
            address.connection,
            # ignore the environment's proxies and netrc, which aiohttp would look up in a thread for every request
            transport=AioHttpTransport(use_env_settings=False, connection_timeout=_CONNECT_S, read_timeout=_READ_S),
            retry_total=0,  # `insist` tries again
        )
    except ValueError:
        raise LoadError(f"the connection string for queue {address.name} cannot be read") from None


async def insist(operation: Callable[[], Awaitable[_Answer]], total_s: float) -> _Answer:
    """Return the operation's answer. Try it six times, with pauses of `total_s` seconds in all, as Azure.Core does.

    Raise the AzureError of the last try. An answer that a repetition would not change is raised at once.
    """
    for pause_s in retry_pauses_s(total_s):
        try:
            return await operation()
        except AzureError as error:
            if not _may_pass(error):
                raise
        await asyncio.sleep(pause_s)
    return await operation()


def _may_pass(error: AzureError) -> bool:
    return not _is_answer(error) or (isinstance(error, HttpResponseError) and error.status_code in _PASSING)


def _is_answer(error: AzureError) -> bool:
    return isinstance(error, HttpResponseError) and not isinstance(error, IncompleteReadError)


def has_no_connection(error: AzureError) -> bool:
    """Return whether the connection was refused or reset. A slow answer is neither."""
    return not _is_answer(error) and not isinstance(error, ServiceRequestTimeoutError | ServiceResponseTimeoutError)


def is_refusal(error: AzureError) -> bool:
    """Return whether storage refused to settle a message that is still there, by an answer or without a connection.

    The platform forgives a message that another receiver has (400), that is gone with or without its queue (404), and a
    queue that is being deleted (409).
    """
    if isinstance(error, HttpResponseError) and _is_answer(error):
        return error.status_code not in _SETTLED_BY_OTHERS
    return has_no_connection(error)


async def exists(queue: QueueClient) -> bool:
    """Return whether the queue exists."""
    try:
        await queue.get_queue_properties()
    except ResourceNotFoundError:
        return False
    return True


async def send(queue: QueueClient, text: str) -> None:
    """Put a message on the queue, for seven days, which is storage's default. Create the queue if it is missing."""
    try:
        await queue.send_message(text)
    except ResourceNotFoundError:
        with suppress(ResourceExistsError):
            await queue.create_queue()
        await queue.send_message(text)
