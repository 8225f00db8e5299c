"""Azure Queue Storage for the host: one client per account, and a deadline for every call."""

from contextlib import suppress
from types import TracebackType
from typing import Self

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local.host.addresses import QueueAddress
from local.host.errors import LoadError

_CONNECT_S = 5
_READ_S = 10


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
            retry_total=2,
            initial_backoff=0,
            increment_base=1,
            random_jitter_range=0,
        )
    except ValueError:
        raise LoadError(f"the connection string for queue {address.name} cannot be read") from None


async def create(queue: QueueClient) -> None:
    """Create the queue unless it exists."""
    with suppress(ResourceExistsError):
        await queue.create_queue()


async def send(queue: QueueClient, text: str) -> None:
    """Put a message on the queue. Create the queue if it does not exist."""
    try:
        await queue.send_message(text)
    except ResourceNotFoundError:
        await create(queue)
        await queue.send_message(text)
