"""The host's queue listeners: each message is an invocation, and is deleted if the invocation succeeds."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import QueueClient, QueueMessage

from local.host.messages import decode_text, trigger_metadata
from tests.conformance.hosting import Worker
from tests.support.peer_processes import Json

PAUSE_S = 0.1
VISIBILITY_S = 600


@dataclass(frozen=True)
class Listeners:
    """The listeners of all queue functions. They record the names of invoked functions and the results."""

    worker: Worker
    account: str
    stopping: threading.Event = field(default_factory=threading.Event)
    begun: list[str] = field(default_factory=list)
    handled: list[tuple[str, Json]] = field(default_factory=list)

    def listen(self, name: str, running: ThreadPoolExecutor) -> list[Future[None]]:
        """Invoke a function with every message of its queue until `stopping` is set. Return the futures."""
        begun: list[Future[None]] = []
        with closing(self.queue(name)) as queue:
            with suppress(ResourceExistsError):
                queue.create_queue()
            while not self.stopping.wait(PAUSE_S):
                messages = queue.receive_messages(max_messages=16, visibility_timeout=VISIBILITY_S)
                begun += [running.submit(self._handle, name, message) for message in messages]
        return begun

    def queue(self, name: str) -> QueueClient:
        """Return a client of a function's queue. It does not decode the text of messages."""
        return QueueClient.from_connection_string(
            self.account, self.worker.reported[name]["raw_bindings"][0]["queueName"]
        )

    def _handle(self, name: str, message: QueueMessage) -> None:
        self.begun.append(name)
        body = decode_text(str(message.content), is_base64=True)
        result = self.worker.invoke(name, self.worker.input_of(name, body), metadata_of(message)).result()
        self.handled.append((name, result))
        if result["succeeded"]:
            with closing(self.queue(name)) as queue:
                queue.delete_message(message)


def metadata_of(message: QueueMessage) -> Json:
    """Return the trigger metadata of a message. Each value is JSON, and the dequeue count is a number."""
    values = {name: datum.value for name, datum in trigger_metadata(message).items()}
    values["DequeueCount"] = message.dequeue_count
    return {name: {"json": json.dumps(value)} for name, value in values.items()}


@contextmanager
def listeners(worker: Worker, account: str) -> Iterator[Listeners]:
    """Listen to all queues until the end of the block, and then wait until every invocation has ended."""
    all_of_them = Listeners(worker, account)
    names = worker.named("queueTrigger")
    with ThreadPoolExecutor() as running, ThreadPoolExecutor(len(names)) as threads:
        try:
            listening = [threads.submit(all_of_them.listen, name, running) for name in names]
            yield all_of_them
        finally:
            all_of_them.stopping.set()
        for begun in [begun for one in listening for begun in one.result()]:
            begun.result()
