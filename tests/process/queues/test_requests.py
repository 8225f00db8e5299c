"""Requests by queue through the running service: a message on `requests` is answered on the sender's reply queue."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from azure.storage.queue import QueueClient, TextBase64DecodePolicy, TextBase64EncodePolicy

from local.azurite import Azurite
from local.stack.process import wait_for
from shared.core.ids import derived_id
from shared.storage.messages import REQUESTS
from tests.support.host_process import await_empty, await_texts, length, put
from tests.support.peer_processes import Json
from tests.support.receiver_peer import FINISHED_S
from tests.support.service_process import TERMINAL, Service, output_text, service

POISON = "requests-poison"
EVENT_S = 90.0  # usually one second, this much if the message that starts the delivery or its process is lost


@dataclass(frozen=True)
class Sender:
    """A client that uses queues only and reads one reply queue."""

    account: str
    replies: QueueClient

    def send(self, **message: object) -> str:
        """Send a request with this sender's reply queue, and return the id of the message."""
        with closing(base64_queue(self.account, REQUESTS)) as queue:
            sent = queue.send_message(json.dumps({"reply_to": self.replies.queue_name, **message}))
        return str(sent.id)

    def event(self) -> Json:
        """Wait for the next event, delete its message and return it."""
        message = wait_for(self.replies.receive_message, EVENT_S)
        assert message, f"no event within {EVENT_S:g} s"
        self.replies.delete_message(message)
        event: Json = json.loads(message.content)
        return event

    def left(self) -> int:
        """Return how many events are left on the reply queue."""
        return self.replies.get_queue_properties().approximate_message_count or 0


def base64_queue(account: str, name: str) -> QueueClient:
    """Return a client of a queue that encodes messages in base64, as Functions expects."""
    return QueueClient.from_connection_string(
        account,
        name,
        message_encode_policy=TextBase64EncodePolicy(),
        message_decode_policy=TextBase64DecodePolicy(),
    )


def id_of(message_id: str) -> str:
    """Return the id of the response that a message starts."""
    return derived_id(REQUESTS.encode(), message_id.encode())


@contextmanager
def sending(account: str, name: str) -> Iterator[Sender]:
    """Yield a sender with a new reply queue of this name."""
    with closing(base64_queue(account, name)) as replies:
        replies.create_queue()
        yield Sender(account, replies)


@pytest.fixture(scope="module")
def account(azurite: Azurite) -> str:
    """Return the connection string of the service's storage account."""
    return azurite.account()


@pytest.fixture(scope="module")
def running(account: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests of this module but one. It must have logged nothing unexpected at the end."""
    with service(tmp_path_factory.mktemp("queues"), account, REPLY_QUEUES="replies*") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def client(running: Service) -> httpx.Client:
    """Return a client that calls as the caller of queued requests."""
    return running.client()


@pytest.fixture
def sender(running: Service, account: str) -> Iterator[Sender]:
    """Return a sender with its own reply queue."""
    del running
    with sending(account, f"replies-{uuid4().hex}") as sender:
        yield sender


def test_a_message_comes_back_as_an_event(client: httpx.Client, sender: Sender) -> None:
    """The event carries the sender's correlation id and the whole response.

    The response can also be fetched over HTTP.
    """
    sent = sender.send(request={"model": "sim-1s", "input": "One. Two."}, correlation_id="order-7")
    event = sender.event()
    assert (event["type"], event["correlation_id"]) == ("response.completed", "order-7")
    assert event["data"]["id"] == id_of(sent)
    assert "One." in output_text(event["data"])
    assert client.get(f"/responses/{event['data']['id']}").json() == event["data"]


def test_many_messages_come_back_each_with_its_correlation_id(sender: Sender) -> None:
    """Forty messages sent at once give forty events, each with its own correlation id."""
    for n in range(40):
        sender.send(request={"model": "sim-0.5s", "input": f"Number {n}."}, correlation_id=f"c-{n}")
    names = [sender.event()["correlation_id"] for _ in range(40)]
    assert sorted(names) == sorted(f"c-{n}" for n in range(40))
    assert sender.left() == 0


def test_copies_of_a_message_are_one_response(running: Service, account: str, sender: Sender) -> None:
    """Messages with the same `id` start one response and send one event, whether the copies come at once or later."""
    for _ in range(3):
        sender.send(id="job-1", request={"model": "sim-0.5s"})
    assert sender.event()["data"]["id"] == id_of("job-1")
    sender.send(id="job-1", request={"model": "sim-0.5s"})
    await_empty(account, REQUESTS)
    assert running.model.stats()["started"][id_of("job-1")] == 1
    assert sender.left() == 0


@pytest.mark.parametrize(
    ("message", "code", "named"),
    [
        ({"request": {"model": 5}}, "invalid_type", "'model'"),
        ({"request": "One."}, "invalid_type", "'request'"),
        ({}, "invalid_type", "'request'"),
        ({"id": 7, "request": {"model": "sim-1s"}}, "invalid_type", "'id'"),
        ({"request": {"model": "sim-1s", "callback_url": "https://10.0.0.1/"}}, "callback_url_address", "address"),
        ({"request": {"model": "gpt-none"}}, "model_not_found", "gpt-none"),
    ],
    ids=["field", "no object", "no request", "id", "callback", "upstream"],
)
def test_a_bad_request_is_answered_with_its_error(
    client: httpx.Client, account: str, sender: Sender, message: Json, code: str, named: str
) -> None:
    """The sender gets the `response.failed` event of a failed response, whose error says what is wrong.

    That holds whether the service or the upstream refuses the request.
    """
    sender.send(**message, correlation_id="bad-1")
    event = sender.event()
    assert (event["type"], event["correlation_id"]) == ("response.failed", "bad-1")
    assert event["data"]["error"]["code"] == code
    assert named in event["data"]["error"]["message"]
    assert client.get(f"/responses/{event['data']['id']}").json()["error"] == event["data"]["error"]
    await_empty(account, REQUESTS)


def test_fields_named_as_the_messages_own_are_the_senders(sender: Sender) -> None:
    """Fields that are named as what the platform knows of a message change nothing of that.

    Two messages with the same wrong `id` are two responses, and each sender learns what is wrong. A valid message with
    a dequeue count and times in it is answered.
    """
    for name in ("first", "second"):
        sender.send(id=7, request={"model": "sim-instant"}, correlation_id=name)
    refused = [sender.event() for _ in range(2)]
    assert {event["correlation_id"] for event in refused} == {"first", "second"}
    assert {event["data"]["error"]["message"].split()[0] for event in refused} == {"'id'"}
    assert len({event["data"]["id"] for event in refused}) == 2
    fields = {"dequeueCount": 5, "ExpirationTime": "2027-01-01T00:00:00Z", "insertionTime": 1, "PopReceipt": "x"}
    sent = sender.send(request={"model": "sim-instant"}, **fields)
    event = sender.event()
    assert (event["type"], event["data"]["id"]) == ("response.completed", id_of(sent))


def test_a_message_of_any_bytes_reaches_its_function(running: Service, account: str) -> None:
    """A message that is not UTF-8 is rejected by the service, with a reason, and not by the platform after 5 tries."""
    rejected = running.hosts[0].written().count("request.rejected")
    put(account, REQUESTS, b"\xff\xfe")
    assert wait_for(lambda: running.hosts[0].written().count("request.rejected") == rejected + 1, FINISHED_S)
    await_empty(account, REQUESTS)


def test_a_message_that_is_not_base64_goes_to_the_poison_queue(account: str, sender: Sender) -> None:
    """The message goes to the poison queue without reaching a function. The next message is answered."""
    put(account, REQUESTS, b'{"request": {"model": "sim-1s"}}', encode=False)
    sender.send(request={"model": "sim-instant"})
    assert sender.event()["type"] == "response.completed"
    assert '{"request": {"model": "sim-1s"}}' in await_texts(account, POISON, 1)
    await_empty(account, REQUESTS)


@pytest.mark.parametrize("reply_to", ["nudges", "requests-poison", "others", "Replies!", 7])
def test_a_reply_queue_that_is_not_allowed_is_recorded_once(
    running: Service, client: httpx.Client, account: str, sender: Sender, reply_to: object
) -> None:
    """The message goes to the poison queue with the reason and is not retried. No event is sent.

    The reason later becomes the error of a failed response.
    """
    rejected = running.hosts[0].written().count("request.rejected")
    sent = sender.send(request={"model": "sim-1s"}, reply_to=reply_to)
    reason = wait_for(lambda: noted(account, sent) or shown(client, sent), FINISHED_S)
    assert reason
    assert "'reply_to'" in reason
    await_empty(account, REQUESTS)
    assert running.hosts[0].written().count("request.rejected") == rejected + 1
    assert sender.left() == 0


def noted(account: str, message_id: str) -> str | None:
    """Return why a message was rejected, from the poison queue, or None if it is not there."""
    with closing(QueueClient.from_connection_string(account, POISON)) as queue:
        texts = [message.content for message in queue.peek_messages(max_messages=32)]
    letters = [json.loads(base64.b64decode(text)) for text in texts if not text.startswith("{")]
    return next((str(one["rejected"]["reason"]) for one in letters if one["first_message"] == message_id), None)


def shown(client: httpx.Client, message_id: str) -> str | None:
    """Return why a message was rejected, from its failed response. The timer makes that from the poison message."""
    response = client.get(f"/responses/{id_of(message_id)}").json()
    return str(response["error"]["message"]) if response.get("status") == "failed" else None


def test_a_crash_during_the_start_loses_nothing(connection_string: str, tmp_path: Path) -> None:
    """The response continues by its alarms if the host is killed between the message and its answer.

    A copy of the message starts no second response.
    """
    with (
        service(tmp_path, connection_string, time_factor=1, REPLY_QUEUES="replies*") as running,
        sending(connection_string, "replies") as sender,
    ):
        running.model.faults(create_latency_s=3)
        client, path = running.client(), f"/responses/{id_of('job-2')}"
        sender.send(id="job-2", request={"model": "sim-0.5s"}, correlation_id="late")
        assert wait_for(lambda: client.get(path).status_code == 200, FINISHED_S)
        assert client.get(path).json()["status"] not in TERMINAL
        running.hosts[0].kill()
        running.model.faults(create_latency_s=0)
        running.hosts[0].start()

        event = sender.event()
        assert (event["type"], event["correlation_id"]) == ("response.completed", "late")
        assert event["data"]["id"] == id_of("job-2")
        sender.send(id="job-2", request={"model": "sim-0.5s"})
        # the message that the killed process had received stays invisible for ten minutes
        assert wait_for(lambda: length(connection_string, REQUESTS) == 1, FINISHED_S)
        assert running.model.stats()["started"] == {id_of("job-2"): 1}
        assert (sender.left(), running.unexpected()) == (0, [])
