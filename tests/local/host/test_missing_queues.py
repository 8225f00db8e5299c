"""Queues that are missing: the local host asks for them and never creates one, on Azurite."""

from contextlib import closing
from pathlib import Path

from local.stack.process import wait_for
from tests.support.host_process import DEADLINE_S, HEAD, await_texts, exists, put, queue, running, write_app

APP = (
    HEAD
    + """
    @app.queue_trigger(arg_name="msg", queue_name="present", connection=STORAGE)
    async def present(msg: str) -> None:
        logging.info("present %s", msg)

    @app.queue_trigger(arg_name="msg", queue_name="absent", connection=STORAGE)
    async def absent(msg: str) -> None:
        logging.info("absent %s", msg)
        if msg == "fail":
            raise RuntimeError("on purpose")
"""
)


def test_a_missing_queue_is_not_created(connection_string: str, tmp_path: Path) -> None:
    """A host whose queue is missing serves its others. It reads the queue as soon as somebody has created it."""
    with running(write_app(tmp_path, APP), AzureWebJobsStorage=connection_string) as host:
        for number in range(5):
            put(connection_string, "present", b"%d" % number)
            host.await_text(f"present {number}")
        with closing(queue(connection_string, "absent")) as client:
            assert not exists(client)
        put(connection_string, "absent", b"now")
        host.await_text("absent now")
        assert "queue.unavailable" not in host.written


def test_a_queue_that_is_deleted_in_mid_run_stays_deleted(connection_string: str, tmp_path: Path) -> None:
    """The host does not create it again, goes on with its other queues, and reads a new queue of that name."""
    with (
        running(write_app(tmp_path, APP), AzureWebJobsStorage=connection_string) as host,
        closing(queue(connection_string, "absent")) as client,
    ):
        put(connection_string, "absent", b"before")
        host.await_text("absent before")
        client.delete_queue()
        for number in range(5):
            put(connection_string, "present", b"%d" % number)
            host.await_text(f"present {number}")
        assert not exists(client)
        put(connection_string, "absent", b"after")
        host.await_text("absent after")
        assert host.process.poll() is None


def test_a_message_whose_queue_is_deleted_is_forgotten(connection_string: str, tmp_path: Path) -> None:
    """A function ends after its queue was deleted. There is nothing to settle, and the host goes on."""
    source = """
    gate = asyncio.Event()

    @app.queue_trigger(arg_name="msg", queue_name="fleeting", connection=STORAGE)
    async def fleeting(msg: str) -> None:
        logging.info("fleeting %s", msg)
        await gate.wait()

    @app.route(route="open")
    async def open_gate(req: func.HttpRequest) -> str:
        gate.set()
        return ""
"""
    with (
        running(write_app(tmp_path, HEAD + source), AzureWebJobsStorage=connection_string) as host,
        closing(queue(connection_string, "fleeting")) as client,
    ):
        put(connection_string, "fleeting", b"first")
        host.await_text("fleeting first")
        client.delete_queue()
        host.client.get("/api/open")
        host.await_text("message.not_settled queue=fleeting")
        put(connection_string, "fleeting", b"second")
        host.await_text("fleeting second")


def test_a_poison_queue_is_made_when_it_is_needed(connection_string: str, tmp_path: Path) -> None:
    """It does not exist before a message has failed for the last time."""
    app = write_app(tmp_path, APP, {"maxDequeueCount": 2})
    with (
        running(app, AzureWebJobsStorage=connection_string) as host,
        closing(queue(connection_string, "absent-poison")) as poison,
    ):
        put(connection_string, "absent", b"good")
        host.await_text("absent good")
        assert not exists(poison)
        put(connection_string, "absent", b"fail")
        assert wait_for(lambda: exists(poison), DEADLINE_S)
        assert await_texts(connection_string, "absent-poison", 1) == ["ZmFpbA=="]
        assert host.written.count("absent fail") == 2
