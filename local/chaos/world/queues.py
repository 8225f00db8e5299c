"""Clients of the queues of a run."""

from azure.storage.queue import QueueClient

QUEUE_S = 10  # the deadline of a call


def queue_client(connection: str, name: str) -> QueueClient:
    """Return a client that gives up soon, because storage may be away on purpose."""
    return QueueClient.from_connection_string(
        connection, name, retry_total=0, connection_timeout=2, read_timeout=QUEUE_S
    )
