"""The local host's rules that need no process: settings, routes, schedules, queue policy, message text."""

import os
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from azure.functions.meta import Datum

from local.host.addresses import QueueAddress
from local.host.errors import LoadError
from local.host.messages import decode_text, encode_text, output_bodies, trigger_datum
from local.host.ncrontab import Schedule
from local.host.queue_policy import Verdict, pause_s, retry_pauses_s, verdict
from local.host.settings import HostSettings, QueueSettings, host_settings, resolve

NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)


def queues(**values: object) -> HostSettings:
    """Return the settings of a host.json with these queue settings."""
    return host_settings({"version": "2.0", "extensions": {"queues": values}})


def test_the_defaults_are_those_of_the_platform() -> None:
    """A host.json without settings means the platform's defaults, with the polling interval of development."""
    settings = host_settings({"version": "2.0"})
    assert settings.route_prefix == "api"
    assert settings.queues.batch_size == 16
    assert settings.queues.max_dequeue_count == 5
    assert settings.queues.visibility_timeout_s == 0
    assert settings.queues.max_polling_interval_s == 2
    assert settings.queues.base64


def test_the_threshold_follows_batch_size_and_cores() -> None:
    """Without newBatchThreshold it is half the batch size for each core."""
    cores = os.cpu_count() or 1
    assert queues(batchSize=7).queues.new_batch_threshold == 3 * cores
    assert host_settings({"version": "2.0"}).queues.new_batch_threshold == 8 * cores


def test_every_queue_setting_is_read() -> None:
    """Numbers, time spans and the encoding are read from host.json."""
    settings = queues(
        batchSize=8,
        newBatchThreshold=3,
        maxDequeueCount=2,
        visibilityTimeout="1.00:01:30",
        maxPollingInterval="00:00:01.5",
        messageEncoding="None",
    )
    assert settings.queues == QueueSettings(8, 3, 2, 86_490, 1.5, base64=False)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"batchSize": 33}, "batchSize"),
        ({"batchSize": True}, "batchSize"),
        ({"newBatchThreshold": -1}, "newBatchThreshold"),
        ({"maxDequeueCount": 0}, "maxDequeueCount"),
        ({"visibilityTimeout": "soon"}, "visibilityTimeout"),
        ({"maxPollingInterval": "00:00:00.05"}, "maxPollingInterval"),
        ({"messageEncoding": "gzip"}, "messageEncoding"),
    ],
)
def test_a_wrong_queue_setting_is_named(values: dict[str, Any], named: str) -> None:
    """A value that the platform would refuse is refused with an error that names it."""
    with pytest.raises(LoadError, match=named):
        queues(**values)


@pytest.mark.parametrize("document", [[], {}, {"version": "1.0"}, {"version": "2.0", "extensions": 1}])
def test_a_wrong_host_json_is_refused(document: object) -> None:
    """host.json must be an object of version 2.0."""
    with pytest.raises(LoadError, match=r"host\.json"):
        host_settings(document)


def test_a_setting_in_a_binding_is_resolved() -> None:
    """%NAME% is replaced by the value of the setting. A setting that is not set is refused."""
    assert resolve("a-%QUEUE%-b", {"QUEUE": "x"}) == "a-x-b"
    with pytest.raises(LoadError, match="%QUEUE%"):
        resolve("%QUEUE%", {})


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("0 */5 * * * *", datetime(2026, 11, 22, 12, 5, tzinfo=UTC)),
        ("*/5 * * * *", datetime(2026, 11, 22, 12, 5, tzinfo=UTC)),
        ("*/7 * * * * *", datetime(2026, 11, 22, 12, 0, 35, tzinfo=UTC)),
        ("0 0 9 * * MON", datetime(2026, 11, 23, 9, tzinfo=UTC)),
        ("0 0 0 13 * 5", datetime(2027, 8, 13, tzinfo=UTC)),
    ],
)
def test_a_schedule_is_due(expression: str, due: datetime) -> None:
    """Six fields begin with the seconds, five fields mean second 0, and a day must match both day fields."""
    assert Schedule(expression, now=NOW).next_after(NOW) == due


@pytest.mark.parametrize(
    "expression", ["", "* * *", "00:05:00", "@hourly", "0 0 0 L * *", "99 * * * * *", "0 0 0 30 2 *"]
)
def test_a_schedule_that_is_not_ncrontab_is_refused(expression: str) -> None:
    """Time spans, aliases, unknown characters, values out of range and impossible dates are refused."""
    with pytest.raises(LoadError, match="schedule"):
        Schedule(expression, now=NOW)


def test_a_schedule_of_more_than_once_a_minute_is_not_monitored() -> None:
    """A schedule of once a minute is monitored, and a more frequent one never is."""
    assert Schedule("0 * * * * *", now=NOW).is_monitored(NOW)
    assert not Schedule("*/30 * * * * *", now=NOW).is_monitored(NOW)


@pytest.mark.parametrize(
    ("succeeded", "dequeue_count", "has_poison_queue", "expected"),
    [
        (True, 1, True, Verdict.DELETE),
        (True, 5, False, Verdict.DELETE),
        (False, 4, True, Verdict.RELEASE),
        (False, 5, True, Verdict.POISON),
        (False, 1, False, Verdict.LEAVE),
    ],
)
def test_the_result_of_a_run_decides_about_its_message(
    *, succeeded: bool, dequeue_count: int, has_poison_queue: bool, expected: Verdict
) -> None:
    """Success deletes the message. Failure releases it, and the last failure moves it to the poison queue.

    A message on a poison queue is left invisible.
    """
    found = verdict(
        succeeded=succeeded,
        dequeue_count=dequeue_count,
        max_dequeue_count=5,
        has_poison_queue=has_poison_queue,
    )
    assert found is expected


def test_pauses_double_up_to_the_longest() -> None:
    """An empty queue is polled after 100 ms, 200 ms, 300 ms, 500 ms and so on, up to the longest pause."""
    pauses = [pause_s(empty_polls, 1.0, 2.0) for empty_polls in (1, 2, 3, 4, 5, 6, 7, 10_000)]
    assert pauses == pytest.approx([0.1, 0.2, 0.3, 0.5, 0.9, 1.7, 2.0, 2.0])
    assert [pause_s(2, jitter, 2.0) for jitter in (0.8, 1.2)] == pytest.approx([0.18, 0.22])


def test_an_operation_of_storage_has_six_tries() -> None:
    """The pauses between them double and are 24 s in all. So the last try may come 13 s after an outage."""
    pauses = retry_pauses_s(24)
    assert len(pauses) == 5
    assert sum(pauses) == pytest.approx(24)
    assert [later / earlier for earlier, later in pairwise(pauses)] == pytest.approx([2] * 4)
    assert 12 < pauses[-1] < 13


def test_encoding_and_decoding_a_body_are_inverse() -> None:
    """A decoded body equals the body that was sent, in both encodings. Invalid base64 is an error."""
    assert decode_text(encode_text(b"\xff\x00", is_base64=True), is_base64=True) == b"\xff\x00"
    assert decode_text(encode_text("é".encode(), is_base64=False), is_base64=False) == "é".encode()
    with pytest.raises(ValueError, match="base64"):
        decode_text("not base64!", is_base64=True)


@pytest.mark.parametrize("text", ["aGVs bG8=", "aGVs\r\nbG8=\n", "\taGVsbG8=", " aGVsbG8 = "])
def test_base64_may_have_white_space(text: str) -> None:
    """Spaces, tabs and line breaks in base64 are skipped. A text without encoding keeps them."""
    assert decode_text(text, is_base64=True) == b"hello"
    assert decode_text(text, is_base64=False) == text.encode()


@pytest.mark.parametrize("text", ["aGVsbG8", "aGVsbG8=\u00a0", "aGVsbG8=aGVsbG8=", "\u0430GVsbG8=", "="])
def test_a_text_that_is_nearly_base64_is_refused(text: str) -> None:
    """Missing padding, text after the padding and other alphabets are no base64."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message is Python's
        decode_text(text, is_base64=True)


def test_a_list_is_one_message_per_element() -> None:
    """A JSON list in an output becomes one message per element. Any other output is one message."""
    assert output_bodies(Datum('["a", {"b": 1}]', "json")) == [b"a", b'{"b": 1}']
    assert output_bodies(Datum('["a"]', "string")) == [b'["a"]']
    assert output_bodies(Datum(b"\xff", "bytes")) == [b"\xff"]


def test_the_trigger_datum_is_text_or_bytes() -> None:
    """Text is the default, and must be UTF-8. Binary data is unchanged."""
    assert trigger_datum(b"\xff", is_binary=True).value == b"\xff"
    assert trigger_datum("é".encode(), is_binary=False).value == "é"
    with pytest.raises(UnicodeDecodeError):
        trigger_datum(b"x\xff", is_binary=False)


def test_a_connection_string_never_shows() -> None:
    """The text form of a queue address does not contain the connection string."""
    address = QueueAddress("some-queue", "AccountKey=secret")
    assert not re.search("secret", repr(address) + repr(address.poison))


def test_a_poison_queue_has_no_poison_queue() -> None:
    """A queue's poison queue is named after it, and does not have another one."""
    address = QueueAddress("some-queue", "x")
    assert address.poison == QueueAddress("some-queue-poison", "x")
    assert address.poison.poison is None


def test_missed_ticks_are_skipped() -> None:
    """The next time of a schedule is always after the given moment."""
    schedule = Schedule("*/10 * * * * *", now=NOW)
    late = NOW + timedelta(seconds=65)
    assert schedule.next_after(late) == NOW + timedelta(seconds=70)
