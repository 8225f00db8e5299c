"""The queues' client: its messages are those of the library, at lower cost."""

from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from shared.storage.queue_client import Queues


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
