"""Queue triggers and outputs of the local host, on Azurite."""

import asyncio
import base64
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from local.azurite import Azurite
from local.host.addresses import QueueAddress
from local.host.durations import Durations
from local.host.queue_outputs import Outbox
from local.host.storage import QueueStorage
from local.stack.process import wait_for
from tests.support.host_process import (
    DEADLINE_S,
    HEAD,
    RunningHost,
    await_empty,
    await_texts,
    length,
    put,
    queue,
    running,
    write_app,
)

APP = (
    HEAD
    + """
    @app.queue_trigger(arg_name="msg", queue_name="Messages", connection=STORAGE)
    async def message(msg: func.QueueMessage) -> None:
        logging.info("message %s %s %s %s", msg.get_body(), msg.dequeue_count, bool(msg.id), msg.insertion_time.year)

    @app.queue_trigger(arg_name="msg", queue_name="%TEXTS%", connection=STORAGE)
    def text(msg: str) -> None:
        logging.info("text %r on %s", msg, threading.current_thread() is threading.main_thread())

    @app.queue_trigger(arg_name="msg", queue_name="binaries", connection=STORAGE, data_type=func.DataType.BINARY)
    async def binary(msg: bytes) -> None:
        logging.info("binary %r", msg)

    @app.queue_trigger(arg_name="msg", queue_name="failing", connection=STORAGE, data_type=func.DataType.BINARY)
    @app.queue_output(arg_name="out", queue_name="never", connection=STORAGE)
    async def failing(msg: func.QueueMessage, out: func.Out[str]) -> None:
        out.set("must not be sent")
        logging.info("failing %s", msg.dequeue_count)
        raise RuntimeError("on purpose")

    @app.queue_trigger(
        arg_name="msg", queue_name="failing-poison", connection=STORAGE, data_type=func.DataType.BINARY
    )
    async def poisoned(msg: func.QueueMessage) -> None:
        logging.info("poisoned %s", msg.dequeue_count)
        if msg.get_body() == b"bad twice":
            raise RuntimeError("on purpose")

    @app.route(route="fan")
    @app.queue_output(arg_name="out", queue_name="copies", connection=STORAGE)
    def fan(req: func.HttpRequest, out: func.Out[typing.List[str]]) -> str:
        out.set(["one", "two"])
        return "sent"

    @app.queue_trigger(arg_name="msg", queue_name="requests", connection=STORAGE)
    @app.queue_output(arg_name="$return", queue_name="replies", connection=STORAGE)
    async def reply(msg: str) -> str:
        return msg.upper()

    @app.queue_trigger(arg_name="msg", queue_name="returning", connection=STORAGE)
    async def returning(msg: str):
        return "not wanted"
"""
)


@pytest.fixture(scope="module")
def account(azurite: Azurite) -> str:
    """Return the storage account of the tests in this file that share a host."""
    return azurite.account()


@pytest.fixture(scope="module")
def host(account: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """Run a host over an app that has a function for each kind of message."""
    app = write_app(tmp_path_factory.mktemp("queues"), APP)
    with running(app, AzureWebJobsStorage=account, TEXTS="texts") as host:
        yield host


@pytest.fixture
def account_with_host(host: RunningHost, account: str) -> str:
    """Return the connection string of the storage that the running host polls."""
    del host
    return account


def test_a_message_is_processed_and_deleted(host: RunningHost, account: str) -> None:
    """func.QueueMessage has body, count, id and times.

    The queue name is lower-cased, and the queue is empty afterwards.
    """
    put(account, "messages", b"hello")
    host.await_text("message b'hello' 1 True 20")
    await_empty(account, "messages")


def test_a_plain_function_gets_text_and_runs_in_a_thread(host: RunningHost, account: str) -> None:
    """A str parameter receives the text.

    A plain function does not block the event loop, and settings in queue names are resolved.
    """
    put(account, "texts", "grüße".encode())
    host.await_text("text 'grüße' on False")


def test_bytes_stay_bytes(host: RunningHost, account: str) -> None:
    """With data_type BINARY, a bytes parameter receives the bytes that were sent."""
    put(account, "binaries", b"\x00\xff")
    host.await_text("binary b'\\x00\\xff'")


def test_a_failing_message_becomes_poison(host: RunningHost, account: str) -> None:
    """A message that fails is tried five times, then copied unchanged to the poison queue. Its outputs are not sent."""
    put(account, "failing", b"bad \xff\x00")
    host.await_text("poisoned 1")
    tries = [line for line in host.written.splitlines() if " failing " in line and "INFO" in line]
    assert [line.rsplit(" ", 1)[1] for line in tries] == ["1", "2", "3", "4", "5"]
    await_empty(account, "failing")
    assert length(account, "never") is None


def test_a_poison_queue_has_no_poison_queue(host: RunningHost, account: str) -> None:
    """A message that fails on a poison queue stays there, invisible, so that it is not retried at once."""
    put(account, "failing-poison", b"bad twice")
    host.await_text("function.failed name=poisoned")
    assert length(account, "failing-poison") == 1
    with closing(queue(account, "failing-poison")) as client:
        assert client.peek_messages() == []


def test_a_text_that_is_not_base64_becomes_poison(account_with_host: str) -> None:
    """A message that cannot be decoded goes to the poison queue unchanged, without a run of the function."""
    put(account_with_host, "messages", b"not base64!", encode=False)
    assert await_texts(account_with_host, "messages-poison", 1) == ["not base64!"]
    await_empty(account_with_host, "messages")


def test_a_list_output_is_several_messages(host: RunningHost, account: str) -> None:
    """An output queue is created if it is missing, and every element of a list is one message in base64."""
    assert host.client.get("/api/fan").text == "sent"
    assert await_texts(account, "copies", 2) == ["b25l", "dHdv"]


def test_a_returned_value_is_sent(account_with_host: str) -> None:
    """The $return output of a queue function contains what the function returned."""
    put(account_with_host, "requests", b"hello")
    assert await_texts(account_with_host, "replies", 1) == ["SEVMTE8="]


def test_a_returned_value_without_an_output_is_an_error(host: RunningHost, account: str) -> None:
    """The invocation fails if a function returns a value and has no $return binding."""
    put(account, "returning", b"x")
    host.await_text("function returning returned a value without a $return binding")


def test_plain_text_messages(connection_string: str, tmp_path: Path) -> None:
    """With messageEncoding none, messages and outputs are plain text. A failed message waits for visibilityTimeout."""
    source = """
    @app.queue_trigger(arg_name="msg", queue_name="plain", connection=STORAGE)
    @app.queue_output(arg_name="out", queue_name="copies", connection=STORAGE)
    async def plain(msg: func.QueueMessage, out: func.Out[str]) -> None:
        if msg.get_body() == b"fail":
            logging.info("failing %s", msg.dequeue_count)
            raise RuntimeError("on purpose")
        out.set(msg.get_body().decode())
"""
    app = write_app(tmp_path, HEAD + source, {"messageEncoding": "none", "visibilityTimeout": "00:10:00"})
    with running(app, AzureWebJobsStorage=connection_string) as host:
        put(connection_string, "plain", b"fail", encode=False)
        put(connection_string, "plain", b"grey & <small>", encode=False)
        assert await_texts(connection_string, "copies", 1) == ["grey & <small>"]
        host.await_text("function.failed name=plain")
        assert wait_for(lambda: length(connection_string, "plain") == 1, DEADLINE_S)
        assert "failing 2" not in host.written


CONCURRENT_APP = (
    HEAD
    + """
    running, most, two, gate = 0, 0, asyncio.Event(), asyncio.Event()

    @app.queue_trigger(arg_name="msg", queue_name="work", connection=STORAGE)
    async def work(msg: str) -> None:
        global running, most
        running += 1
        most = max(most, running)
        logging.info("running %s", running)
        if running == 2:
            two.set()
        await (two if msg == "0" else gate).wait()
        running -= 1

    @app.route(route="open")
    async def open_gate(req: func.HttpRequest) -> str:
        gate.set()
        return str(most)
"""
)


def test_concurrency_is_batch_size_and_threshold(connection_string: str, tmp_path: Path) -> None:
    """With a batch size of 2 and a threshold of 1, a third message starts when one of two has ended.

    A fourth one never runs at the same time.
    """
    with closing(queue(connection_string, "work")) as client:
        client.create_queue()
        for number in range(8):
            client.send_message(base64.b64encode(b"%d" % number).decode())
    app = write_app(tmp_path, CONCURRENT_APP, {"batchSize": 2, "newBatchThreshold": 1})
    with running(app, AzureWebJobsStorage=connection_string) as host:
        host.await_text("running 3")
        host.client.get("/api/open")
        await_empty(connection_string, "work")
        assert host.client.get("/api/open").text == "3"


def test_an_output_starts_the_next_function(connection_string: str, tmp_path: Path) -> None:
    """An output to a queue that has a function in the same process starts that function before its next poll."""
    source = """
    @app.route(route="send")
    @app.queue_output(arg_name="out", queue_name="woken", connection=STORAGE)
    def send(req: func.HttpRequest, out: func.Out[str]) -> str:
        out.set("now")
        return ""

    @app.queue_trigger(arg_name="msg", queue_name="woken", connection=STORAGE)
    async def woken(msg: str) -> None:
        logging.info("woken by %s", msg)
"""
    app = write_app(tmp_path, HEAD + source, {"maxPollingInterval": "00:10:00"})
    with running(app, AzureWebJobsStorage=connection_string) as host:
        for number in range(1, 4):
            host.client.get("/api/send")
            host.await_text("woken by now", times=number)


def test_an_output_wakes_the_listeners_of_its_queue(connection_string: str) -> None:
    """A subscriber is woken when the outbox has written to its queue, and not by another queue."""

    async def scenario() -> None:
        async with QueueStorage() as storage:
            outbox = Outbox(storage, is_base64=True, durations=Durations())
            wanted, other = QueueAddress("wanted", connection_string), QueueAddress("other", connection_string)
            received, untold = outbox.subscribe(wanted), outbox.subscribe(other)
            await outbox.send(wanted, [b"one", b"two"])
            assert (received.is_set(), untold.is_set()) == (True, False)

    asyncio.run(scenario())
    assert await_texts(connection_string, "wanted", 2) == ["b25l", "dHdv"]
