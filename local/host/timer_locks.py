"""The locks of timers: over all hosts of a storage account, one at a time runs a timer. A lock is the lease of a blob.

https://learn.microsoft.com/rest/api/storageservices/lease-blob
"""

import asyncio
import functools
import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import httpx
from azure.storage.queue import AccountSasPermissions, ResourceTypes, Services, generate_account_sas

from local.host.errors import LoadError

logger = logging.getLogger(__name__)

_CONTAINER = "azure-webjobs-hosts"
_HEADERS = {"x-ms-version": "2021-12-02", "content-length": "0"}
_SHORTEST_LEASE_S = 15  # storage refuses a shorter one
_DEADLINE_S = 10.0
_RETRY_S = 1.0


class TimerLock:
    """The lock of one timer. `lost` is set when another host has it, or may have it."""

    def __init__(self, blob: "_LeasedBlob", lock_s: float) -> None:
        self.lost = asyncio.Event()
        self._blob = blob
        self._lock_s = lock_s
        self._renewing: asyncio.Task[None] | None = None

    async def acquire(self) -> None:
        """Ask for the lock until this host has it. From then on, renew it."""
        while not await self._is_ours("acquire"):  # noqa: ASYNC110 - storage announces no lock
            await asyncio.sleep(self._lock_s)
        self.lost.clear()
        self._renewing = asyncio.create_task(self._renew())

    async def release(self) -> None:
        """Let another host have the lock when it asks next, if this one has it."""
        if self._renewing and not self._renewing.done():
            self._renewing.cancel()
            await self._is_ours("release")

    async def _renew(self) -> None:
        is_kept: bool | None = True
        while is_kept is not False:
            await asyncio.sleep(_RETRY_S if is_kept is None else self._lock_s / 2)
            is_kept = await self._is_ours("renew")
        self.lost.set()

    async def _is_ours(self, action: str) -> bool | None:
        """Return whether storage has agreed, or None if it has not answered."""
        try:
            return await self._blob.lease(action, max(_SHORTEST_LEASE_S, round(self._lock_s)))
        except httpx.HTTPError as error:
            logger.warning("timer.lock_unavailable action=%s error=%s", action, type(error).__name__)
            return None


class TimerLocks:
    """The locks of all timers in the storage account of AzureWebJobsStorage."""

    def __init__(self, environment: Mapping[str, str], lock_s: float) -> None:
        self._connection = environment.get("AzureWebJobsStorage", "")
        self._lock_s = lock_s
        self._locks: list[TimerLock] = []

    def lock(self, function_name: str) -> TimerLock:
        """Return the lock of a timer function. Raise LoadError if the account's connection string cannot be read."""
        blob = _LeasedBlob(self._http, _Account(self._connection), function_name)
        lock = TimerLock(blob, self._lock_s)
        self._locks.append(lock)
        return lock

    @functools.cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=_DEADLINE_S, trust_env=False)

    async def release(self) -> None:
        """Release the locks that this host has."""
        await asyncio.gather(*(lock.release() for lock in self._locks))


class _Account:
    """A storage account with blobs, and the signatures for its URLs."""

    def __init__(self, connection: str) -> None:
        fields = dict(part.partition("=")[::2] for part in connection.split(";"))
        try:
            self._name, self._key = fields["AccountName"], fields["AccountKey"]
            self._url = fields.get("BlobEndpoint") or _public_url(fields)
        except KeyError:
            raise LoadError("a timer's lock needs the account's name and key in AzureWebJobsStorage") from None

    def url(self, path: str, query: str) -> str:
        """Return a signed URL."""
        signature = generate_account_sas(
            self._name,
            self._key,
            ResourceTypes(container=True, object=True),
            AccountSasPermissions(read=True, write=True, create=True),
            datetime.now(UTC) + timedelta(hours=1),
            services=Services(blob=True),
        )
        return f"{self._url.rstrip('/')}/{path}?{query}&{signature}"


def _public_url(fields: Mapping[str, str]) -> str:
    suffix = fields.get("EndpointSuffix", "core.windows.net")
    return f"{fields.get('DefaultEndpointsProtocol', 'https')}://{fields['AccountName']}.blob.{suffix}"


class _LeasedBlob:
    """The blob of a lock, and this host's lease of it."""

    def __init__(self, http: httpx.AsyncClient, account: _Account, name: str) -> None:
        self._http = http
        self._account = account
        self._path = f"{_CONTAINER}/locks/local/{name}.Listener"
        self._id = str(uuid.uuid4())

    async def lease(self, action: str, duration_s: int) -> bool:
        """Acquire, renew or release the lease. Return whether it was ours to do so.

        Raises httpx.HTTPError if storage does not answer or fails.
        """
        headers = {"x-ms-lease-action": action, "x-ms-lease-id": self._id}
        if action == "acquire":
            headers |= {"x-ms-lease-duration": str(duration_s), "x-ms-proposed-lease-id": headers.pop("x-ms-lease-id")}
        status = await self._put(self._path, "comp=lease", **headers)
        if status == HTTPStatus.NOT_FOUND and action == "acquire":
            await self._create()
            status = await self._put(self._path, "comp=lease", **headers)
        return status < HTTPStatus.BAD_REQUEST

    async def _create(self) -> None:
        """Create the blob and its container, unless they exist. Another host may do so at the same time."""
        await self._put(_CONTAINER, "restype=container")
        await self._put(self._path, "", **{"x-ms-blob-type": "BlockBlob", "if-none-match": "*"})

    async def _put(self, path: str, query: str, **headers: str) -> int:
        answer = await self._http.put(self._account.url(path, query), headers={**_HEADERS, **headers})
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            answer.raise_for_status()
        return answer.status_code
