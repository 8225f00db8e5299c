"""What the local host passes to text and binary queue triggers, as it was seen on the real host, on Azurite."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from local.azurite import Azurite
from tests.support.host_process import HEAD, RunningHost, await_empty, await_texts, put, queue, running, write_app

APP = (
    HEAD
    + """
    def told(kind: str, msg: func.QueueMessage) -> None:
        week = msg.expiration_time and (msg.expiration_time - msg.insertion_time).days
        own = len(msg.id) == 36
        logging.info("%s %r id=%r own=%s count=%s days=%s", kind, msg.get_body(), msg.id, own, msg.dequeue_count, week)

    @app.queue_trigger(arg_name="msg", queue_name="texts", connection=STORAGE)
    async def text(msg: func.QueueMessage) -> None:
        told("text", msg)

    @app.queue_trigger(arg_name="msg", queue_name="bins", connection=STORAGE, data_type=func.DataType.BINARY)
    async def binary(msg: func.QueueMessage) -> None:
        told("binary", msg)

    @app.queue_trigger(arg_name="msg", queue_name="strings", connection=STORAGE)
    async def string(msg: str) -> None:
        logging.info("string %r", msg)

    @app.queue_trigger(arg_name="msg", queue_name="undeclared", connection=STORAGE)
    async def undeclared(msg: bytes) -> None:
        logging.info("undeclared %r", msg)
"""
)

BODIES = (
    b'{"id": "order-7", "dequeueCount": 5}',
    b'{"id": 7}',
    b"plain",
    b"\xff\xfe",
    b'{"expirationTime": "2027-01-01T00:00:00Z"}',
)


@pytest.fixture(scope="module")
def account(azurite: Azurite) -> str:
    """Return the storage account of the tests in this file."""
    return azurite.account()


@pytest.fixture(scope="module")
def host(account: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """Run a host over an app that logs what it gets."""
    with running(write_app(tmp_path_factory.mktemp("messages"), APP), AzureWebJobsStorage=account) as host:
        yield host


def told(host: RunningHost, text: str) -> str:
    """Return the line in which a function has told about a message."""
    host.await_text(text)
    return next(line for line in host.written.splitlines() if text in line)


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"id": "order-7", "dequeueCount": 5}, "id='order-7' own=False count=5 days=7"),
        ({"id": 7}, "id='7' own=False count=1 days=7"),
        ({"ID": "big"}, "id='big' own=False count=1 days=7"),
        ({"Id": "first", "iD": "last"}, "id='last' own=False count=1 days=7"),
        ({"id": ""}, "id='' own=False count=1 days=7"),
        ({"id": True}, "id='True' own=False count=1 days=7"),
        ({"id": "2027-01-01T02:00:00+02:00"}, "id='01/01/2027 00:00:00' own=False count=1 days=7"),
        ({"DEQUEUECOUNT": "3"}, "own=True count=3 days=7"),
        ({"popReceipt": "stolen"}, "own=True count=1 days=7"),
    ],
)
def test_fields_of_a_text_replace_the_metadata(
    host: RunningHost, account: str, fields: dict[str, object], seen: str
) -> None:
    """Top-level fields of a JSON object, in any case, go over the message's own. It is settled as itself."""
    body = json.dumps(fields).encode()
    put(account, "texts", body)
    assert told(host, f"text {body!r} ").endswith(seen)
    await_empty(account, "texts")


@pytest.mark.parametrize(
    "body",
    [
        b"plain",
        b"[1, 2]",
        b'[{"id": 7}]',
        b'{"id": null}',
        b'{"id": [7]}',
        b'{"nested": {"id": 7}}',
        b'{"id": 7',
        b'"id"',
        b'{"dequeueCount": []}',
    ],
)
def test_other_texts_leave_the_metadata(host: RunningHost, account: str, body: bytes) -> None:
    """Lists, nulls, nested fields and what is no JSON object replace nothing."""
    put(account, "texts", body)
    assert told(host, f"text {body!r} ").endswith("own=True count=1 days=7")


@pytest.mark.parametrize(
    "body",
    [
        b'{"expirationTime": "2027-01-01T00:00:00Z"}',
        b'{"InsertionTime": "2027-01-01T00:00:00.1234567+00:00"}',
        b'{"nextvisibletime": "soon"}',
        b'{"expirationTime": 5}',
        b'{"expirationTime": {"year": 2027}}',
        b'{"dequeueCount": "many"}',
        b"\xff\xfe",
    ],
)
def test_a_text_that_the_library_refuses_never_arrives(host: RunningHost, account: str, body: bytes) -> None:
    """A time in the body, also one in ISO form, or bytes that are no UTF-8 fail before the function.

    After five tries the message is poison, unchanged.
    """
    put(account, "texts", b"opens the queue")
    with closing(queue(account, "texts")) as client:
        message_id = client.send_message(base64.b64encode(body).decode()).id
    host.await_text(f"function.failed name=text message={message_id}", times=5)
    with closing(queue(account, "texts-poison")) as client:
        assert [base64.b64decode(text) for text in await_texts(account, "texts-poison", 1)] == [body]
        client.clear_messages()
    assert host.written.count(f"name=text message={message_id}") == 5
    assert f"text {body!r} " not in host.written


def test_a_string_parameter_knows_no_metadata(host: RunningHost, account: str) -> None:
    """A time in the body does not matter to a function that takes a str, as its metadata is not read."""
    put(account, "strings", b'{"expirationTime": "2027-01-01T00:00:00Z"}')
    host.await_text('string \'{"expirationTime": "2027-01-01T00:00:00Z"}\'')


def test_a_bytes_parameter_does_not_make_a_trigger_binary(host: RunningHost, account: str) -> None:
    """Without data_type BINARY the data is text, and the worker passes it on as it is, a str."""
    put(account, "undeclared", b"hello")
    host.await_text("undeclared 'hello'")


@pytest.mark.parametrize("body", BODIES)
def test_a_binary_trigger_gets_everything(host: RunningHost, account: str, body: bytes) -> None:
    """With data_type BINARY all bytes arrive, and the metadata is storage's own."""
    put(account, "bins", body)
    assert told(host, f"binary {body!r} ").endswith("own=True count=1 days=7")
    await_empty(account, "bins")


def test_base64_with_white_space_is_read(host: RunningHost, account: str) -> None:
    """Spaces and line breaks in a message's base64 change nothing."""
    put(account, "bins", b"  d2l0aC\r\nBnYX Bz\n", encode=False)
    host.await_text("binary b'with gaps'")


def test_a_message_that_is_not_base64_is_poison_at_once(host: RunningHost, account: str) -> None:
    """It moves at its first receive. The log says that it has reached the greatest dequeue count.

    The poison queue is made only now. The copy lives seven days, whatever the original's time was.
    """
    with closing(queue(account, "strings-poison")) as poison, closing(queue(account, "strings")) as main:
        put(account, "strings", b"opens the queue")
        main.send_message("not base64!", time_to_live=-1)
        assert await_texts(account, "strings-poison", 1) == ["not base64!"]
        moved = poison.peek_messages()[0]
        assert moved.expires_on
        assert moved.inserted_on
        assert moved.expires_on - moved.inserted_on == timedelta(days=7)
    host.await_text("Message has reached MaxDequeueCount of 5. Moving message to queue 'strings-poison'.")
    await_empty(account, "strings")
    assert "function.failed name=string" not in host.written


def test_the_metadata_of_a_poison_text_is_checked_once_more(connection_string: str, tmp_path: Path) -> None:
    """A text that its trigger could not read cannot be read by a text trigger of the poison queue either."""
    source = """
    @app.queue_trigger(arg_name="msg", queue_name="orders", connection=STORAGE)
    async def order(msg: func.QueueMessage) -> None:
        logging.info("order")

    @app.queue_trigger(arg_name="msg", queue_name="orders-poison", connection=STORAGE)
    async def buried(msg: func.QueueMessage) -> None:
        logging.info("buried")
"""
    app = write_app(tmp_path, HEAD + source, {"maxDequeueCount": 1})
    with running(app, AzureWebJobsStorage=connection_string) as host:
        put(connection_string, "orders", b'{"insertionTime": "x"}')
        host.await_text("function.failed name=buried")
        assert " order\n" not in host.written
