"""Shorter pipelines: what stays in them, for a key and for an identity, and that the libraries still use them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest
from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import AsyncRetryPolicy

from shared.storage.pipelines import lean
from shared.storage.queue_client import Queues
from shared.storage.table_client import Table

QUEUES = [
    "QueueMessagePolicy",
    "ContentDecodePolicy",
    "StorageHosts",
    "ExponentialRetry",
    "StorageHeadersPolicy",
]
TABLES = ["StorageHeadersPolicy", "ContentDecodePolicy", "StorageHosts", "AsyncTablesRetryPolicy"]


class Identity:
    """A credential whose token is never asked for."""

    async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """Fail."""
        raise AssertionError("nothing is called")

    async def close(self) -> None:
        """Close nothing."""

    async def __aenter__(self) -> Self:
        """Open nothing."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close nothing."""


@asynccontextmanager
async def clients(connection_string: str | None) -> AsyncIterator[tuple[Any, Any]]:
    """Give clients of the table and of the queues, with the account's key or with an identity."""
    if connection_string:
        table: Any = Table.from_connection_string(connection_string, "lean")
        queues: Any = Queues.from_connection_string(connection_string)
    else:
        table = Table("https://a.table.core.windows.net", "lean", credential=Identity())
        queues = Queues("https://a.queue.core.windows.net", credential=Identity())
    async with table, queues:
        yield table, queues


def names(pipeline: Any) -> list[str]:
    """Return the names of the policies of a pipeline, in order."""
    return [type(getattr(one, "_policy", one)).__name__ for one in pipeline._impl_policies]


@pytest.mark.parametrize("with_key", [True, False], ids=["key", "identity"])
async def test_what_storage_needs_stays_in_the_pipelines(connection_string: str, with_key: bool) -> None:
    """The authorization, the retries, the headers and the encodings stay, and nothing else."""
    async with clients(connection_string if with_key else None) as (table, queues):
        of_tables, of_queues = names(table._client._client._pipeline), names(queues._pipeline)
    for found, expected in ((of_tables, TABLES), (of_queues, QUEUES)):
        credentials = [name for name in found if name not in expected]
        assert [name for name in found if name in expected] == expected
        (credential,) = credentials
        assert credential.startswith("SharedKey") if with_key else "BearerToken" in credential


async def test_a_policy_that_is_not_known_stays() -> None:
    """What a later version of a library adds is not dropped."""
    retry = AsyncRetryPolicy()
    assert lean([retry]) == [retry]
