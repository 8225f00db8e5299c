"""The queues' client: its messages are those of the library, at lower cost."""

from typing import Any, Self

import pytest
from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import AsyncRetryPolicy
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from shared.storage.queue_client import Queues, lean

NEEDED = [
    "QueueMessagePolicy",
    "ContentDecodePolicy",
    "StorageHosts",
    "ExponentialRetry",
    "StorageHeadersPolicy",
]


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


def policies(queue: QueueClient) -> list[object]:
    """Return the policies of the pipeline of a queue, in order."""
    return [getattr(one, "_policy", one) for one in queue._pipeline._impl_policies]


async def test_the_clients_of_single_queues_have_the_short_pipeline(connection_string: str) -> None:
    """They have the policies of the client of all queues, which are fewer than those of the library."""
    async with (
        Queues.from_connection_string(connection_string) as ours,
        QueueServiceClient.from_connection_string(connection_string) as theirs,
    ):
        of_ours, of_theirs = policies(ours.get_queue_client("lean")), policies(theirs.get_queue_client("lean"))
    assert len(of_ours) == 6
    assert len(of_theirs) > 12


async def test_a_message_is_the_one_of_the_library(connection_string: str) -> None:
    """The library reads a message that was sent through the short pipeline, and the other way round."""
    async with (
        Queues.from_connection_string(connection_string) as ours,
        QueueServiceClient.from_connection_string(connection_string) as theirs,
    ):
        one, other = (
            each.get_queue_client("lean", message_encode_policy=TextBase64EncodePolicy()) for each in (ours, theirs)
        )
        await one.create_queue()
        for sender, reader in ((one, other), (other, one)):
            await sender.send_message("<text>")
            message = await reader.receive_message()
            assert message is not None
            assert message.content == "PHRleHQ+"
            await reader.delete_message(message)


@pytest.mark.parametrize("with_key", [True, False], ids=["key", "identity"])
async def test_what_storage_needs_stays_in_the_pipeline(connection_string: str, with_key: bool) -> None:
    """The authorization, the retries, the headers and the encodings stay, and nothing else."""
    queues: Any = (
        Queues.from_connection_string(connection_string)
        if with_key
        else Queues("https://a.queue.core.windows.net", credential=Identity())
    )
    async with queues:
        found = [type(getattr(one, "_policy", one)).__name__ for one in queues._pipeline._impl_policies]
    assert [name for name in found if name in NEEDED] == NEEDED
    (credential,) = (name for name in found if name not in NEEDED)
    assert credential.startswith("SharedKey") if with_key else "BearerToken" in credential


async def test_a_policy_that_is_not_known_stays() -> None:
    """What a later version of a library adds is not dropped."""
    retry = AsyncRetryPolicy()
    assert lean([retry]) == [retry]
