"""Queue and timer functions work in Microsoft's worker, which reports a failure to the host."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from azure.storage.queue import QueueClient, QueueMessage

from functions.queues import LAST_TRY
from local.stack.process import wait_for
from shared.core.alarms import Alarm, Kind
from tests.conformance.conftest import REPLIES, Running, settings_of
from tests.conformance.hosting import Worker, client, worker
from tests.conformance.listening import metadata_of
from tests.conformance.test_indexing import QUEUES, TIMERS
from tests.support.host_process import await_texts, put
from tests.support.peer_processes import Json, error_of
from tests.support.receiver_peer import FINISHED_S

NOWHERE = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==" + "".join(
    f";{service}Endpoint=http://127.0.0.1:9/a" for service in ("Blob", "Queue", "Table")
)
NOBODY = "resp_" + "0" * 32
UNREADABLE = [
    *(b"", b"{}", b"no JSON", b'{"shard": 7}', b'{"alarm": "x"}', b'{"id": "resp_x", "epoch": 1}'),
    *(b"\xff\xfe", b"\x00" * 100, "{}".encode("utf-16"), b'{"id": 7, "dequeueCount": 5}', b'{"expirationTime": "x"}'),
]


def ticked(*, is_past_due: bool) -> Json:
    """Return the input of a timer function."""
    return {"timer": {"json": json.dumps({"Schedule": {"AdjustForDST": True}, "IsPastDue": is_past_due})}}


def test_a_request_by_queue_is_answered_by_queue(running: Running) -> None:
    """A queue function accepts the request. Its process watches the response and sends the answer, without HTTP."""
    with closing(QueueClient.from_connection_string(running.account, REPLIES)) as replies:
        replies.create_queue()
    ask = {"request": {"model": "sim-1s", "input": "One. Two."}, "reply_to": REPLIES, "correlation_id": "7"}
    put(running.account, "requests", json.dumps(ask).encode())
    (text,) = await_texts(running.account, REPLIES, 1)
    event = json.loads(base64.b64decode(text))
    assert (event["correlation_id"], event["type"], event["data"]["status"]) == ("7", "response.completed", "completed")
    assert wait_for(lambda: {"take_request"} <= {*running.queues.begun}, FINISHED_S)


@pytest.mark.parametrize("name", QUEUES)
def test_an_unreadable_message_is_dropped(running: Running, name: str) -> None:
    """The function succeeds for any unreadable message, so the host deletes the message. A body may be any bytes."""
    worker = running.worker
    calls = [worker.invoke(name, worker.input_of(name, body), received()) for body in UNREADABLE]
    assert all(call.result()["succeeded"] for call in calls)


def test_all_queues_get_their_messages_in_the_same_form(running: Running) -> None:
    """The binding of each queue function asks for the same type of data."""
    bindings = [running.worker.reported[name]["raw_bindings"][0] for name in QUEUES]
    assert len({one.get("dataType") for one in bindings}) == 1


@pytest.mark.parametrize("is_past_due", [False, True])
@pytest.mark.parametrize("name", TIMERS)
def test_a_timer_function_succeeds(running: Running, name: str, is_past_due: bool) -> None:
    """A timer function succeeds whether the host calls it on time or late."""
    assert running.worker.invoke(name, ticked(is_past_due=is_past_due)).result()["succeeded"]


@pytest.fixture(scope="module")
def failing(running: Running, app: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Yield a worker whose storage does not answer."""
    settings = settings_of(NOWHERE, "http://127.0.0.1:9/v1", running.caller)
    with worker(tmp_path_factory.mktemp("failing"), app, settings) as failing:
        yield failing


@pytest.mark.parametrize("dequeue_count", [1, LAST_TRY])
def test_a_queued_request_fails_if_storage_does_not_answer(failing: Worker, dequeue_count: int) -> None:
    """The worker reports the exception, so the host delivers the queued request again.

    After the last try the host moves it to the poison queue.
    """
    body = json.dumps({"request": {"model": "sim-1s", "input": "One."}}).encode()
    message = failing.input_of("take_request", body)
    result = failing.invoke("take_request", message, received(dequeue_count)).result()
    assert not result["succeeded"]
    assert result["exception"]["message"].startswith("StoreUnavailable: ")
    assert "functions/queues.py" in result["exception"]["stack_trace"]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("sweep", {"shard": "a", "at": 1}),
        ("deliver", {"alarm": Alarm(1, Kind.DELIVER, NOBODY, "callback").key}),
        ("run", {"id": NOBODY, "epoch": 1}),
    ],
)
def test_a_hint_is_dropped_if_storage_does_not_answer(failing: Worker, name: str, body: Json) -> None:
    """The function succeeds, so the host deletes the message. The alarm in the table causes another attempt."""
    call = failing.invoke(name, failing.input_of(name, json.dumps(body).encode()), received())
    assert call.result() == {"succeeded": True, "exception": None}


def test_http_requests_are_answered_without_storage(failing: Worker, running: Running) -> None:
    """If storage does not answer, a request gets our error 503 and the liveness check succeeds."""
    with client(failing, "v1", running.caller.api_key) as (http, forwarding):
        answer = http.get(f"/responses/{NOBODY}")
        assert error_of(answer)[0] == 503
        assert http.get("/health/live").is_success
        assert all(result["succeeded"] for _, result in forwarding.results())


def received(dequeue_count: int = 1) -> Json:
    """Return the trigger metadata that the host sends with a message."""
    message = QueueMessage()
    message.id, message.dequeue_count = "7f0a", dequeue_count
    return metadata_of(message)
