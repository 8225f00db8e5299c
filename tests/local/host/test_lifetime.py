"""What the local host does with messages when it is stopped or killed, on Azurite."""

import asyncio
from contextlib import closing
from pathlib import Path

from azure.storage.queue.aio import QueueClient as AsyncQueueClient

from local.host.durations import Durations
from local.host.message_visibility import Lease
from tests.support.host_process import DEADLINE_S, HEAD, length, put, queue, running, write_app

SLOW_APP = (
    HEAD
    + """
    @app.queue_trigger(arg_name="msg", queue_name="slow", connection=STORAGE)
    async def slow(msg: func.QueueMessage) -> None:
        logging.info("slow started")
        await asyncio.sleep(float(msg.get_body()))
        logging.info("slow ended")

    @app.queue_trigger(arg_name="msg", queue_name="stuck", connection=STORAGE)
    def stuck(msg: func.QueueMessage) -> None:
        logging.info("stuck started")
        time.sleep(float(msg.get_body()))
"""
)


def test_a_crash_leaves_the_message_invisible(connection_string: str, tmp_path: Path) -> None:
    """After SIGKILL the message still exists, and no one sees it before its ten minutes are over."""
    with running(write_app(tmp_path, SLOW_APP), AzureWebJobsStorage=connection_string) as host:
        put(connection_string, "slow", b"120")
        host.await_text("slow started")
        host.process.kill()
        host.process.wait()
    assert length(connection_string, "slow") == 1
    with closing(queue(connection_string, "slow")) as client:
        assert client.peek_messages() == []


def test_a_lease_lasts_longer_than_one_visibility_timeout(connection_string: str) -> None:
    """The message stays invisible while the lease is renewed, and is settled with the newest receipt."""

    async def scenario() -> None:
        async with AsyncQueueClient.from_connection_string(connection_string, "leased") as client:
            await client.create_queue()
            await client.send_message("x")
            message = await client.receive_message(visibility_timeout=2)
            assert message is not None
            async with Lease(client, message, Durations(2 / 600), asyncio.Event()) as lease:
                async with asyncio.timeout(DEADLINE_S):
                    receipts = {lease.receipt}
                    while len(receipts) < 4:
                        receipts.add(lease.receipt)
                        assert await client.peek_messages() == []
                        await asyncio.sleep(0.05)
            await client.delete_message(message.id, lease.receipt)
            assert (await client.get_queue_properties()).approximate_message_count == 0

    asyncio.run(scenario())


def test_a_lost_lease_is_not_renewed(connection_string: str) -> None:
    """A message that another receiver has taken is left to that receiver.

    It becomes visible when the receiver's time is over.
    """

    async def scenario() -> None:
        async with AsyncQueueClient.from_connection_string(connection_string, "leased") as client:
            await client.create_queue()
            await client.send_message("x")
            message = await client.receive_message(visibility_timeout=30)
            assert message is not None
            await client.update_message(message.id, message.pop_receipt, visibility_timeout=2)
            gone = asyncio.Event()
            async with Lease(client, message, Durations(1 / 600), gone) as lease, asyncio.timeout(DEADLINE_S):
                while not await client.peek_messages():  # noqa: ASYNC110 - storage sets no event
                    await asyncio.sleep(0.05)
            assert lease.receipt == message.pop_receipt
            assert not gone.is_set()

    asyncio.run(scenario())
