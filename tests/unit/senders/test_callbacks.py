"""The callback sender against real servers: what it sends, what each answer becomes, and how much it does at once."""

import asyncio
import logging
import socket
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from shared.core.outcomes import Answer, SendError
from shared.senders.admission import Outlook
from shared.senders.bulkhead import NoCapacity
from shared.senders.callbacks import MAX_SENDS, CallbackSender
from shared.senders.circuit_breaker import FAILURES_IN_A_ROW, OPEN_MS
from tests.support.callback_receivers import Receiver, Script, drip, endless, hang_up, raw, reply, silence
from tests.support.clocks import Clock
from tests.support.log_capture import WrittenLines

BODY = b'{"type": "response.completed"}'
FIELDS = {"webhook-id": "wh_1", "webhook-signature": "v1,secret", "content-type": "application/json"}
NAME_URL = "https://hooks.contoso.com/cb"


def post_to(script: Script, **settings: Any) -> tuple[Answer, Receiver]:
    """Post once to a loopback receiver, with loopback allowed."""

    async def scenario() -> tuple[Answer, Receiver]:
        settings.setdefault("deadline_s", 5.0)
        async with (
            Receiver(script) as receiver,
            aclosing(CallbackSender(allow_loopback=True, **settings)) as sender,
        ):
            return await sender.post(receiver.url, FIELDS, BODY), receiver

    return asyncio.run(scenario())


def test_a_callback_arrives_as_it_was_signed() -> None:
    """There is one POST of the exact bytes to the path and query, with the given headers and the sender's own."""
    answer, receiver = post_to(reply(200, body=b"thanks"))
    (request,) = receiver.requests
    assert (answer.status, answer.error) == (200, None)
    assert (request.line, request.body) == ("POST /cb?key=hidden HTTP/1.1", BODY)
    assert request.headers == FIELDS | {
        "host": f"127.0.0.1:{receiver.port}",
        "content-length": str(len(BODY)),
        "user-agent": "background-responses/1",
        "accept": "*/*",
        "accept-encoding": "identity",
    }


def test_the_senders_own_headers_cannot_be_replaced() -> None:
    """A given header in another spelling does not change Host or Content-Length."""

    async def scenario() -> dict[str, str]:
        async with Receiver(reply(200)) as receiver, aclosing(CallbackSender(allow_loopback=True)) as sender:
            await sender.post(receiver.url, {"Host": "evil.example", "Content-Length": "1"}, BODY)
            return receiver.requests[0].headers

    fields = asyncio.run(scenario())
    assert fields["host"].startswith("127.0.0.1:")
    assert fields["content-length"] == str(len(BODY))


@pytest.mark.parametrize("status", [202, 204, 301, 307, 404, 410, 429, 503])
def test_a_status_is_the_answer(status: int) -> None:
    """Each status is returned as it is, with Retry-After. A redirect is not followed."""
    answer, receiver = post_to(reply(status, "Retry-After: 120", f"Location: /{status}"))
    assert (answer.status, answer.error, answer.retry_after) == (status, None, "120")
    assert len(receiver.requests) == 1


def test_a_long_retry_after_is_truncated() -> None:
    """Only 64 characters of a receiver's header are kept."""
    answer, _ = post_to(reply(503, "Retry-After: " + "9" * 5000))
    assert answer.retry_after == "9" * 64


def test_a_dripping_body_does_not_undo_the_status() -> None:
    """A body that never ends is abandoned at the deadline. The status counts, so the callback is not sent again."""
    answer, _ = post_to(drip(endless(200), b"x"), deadline_s=0.3)
    assert (answer.status, answer.error) == (200, None)
    assert answer.duration_ms < 2000


def test_a_huge_body_is_abandoned() -> None:
    """The sender closes the connection after 4 KiB, long before the deadline."""
    answer, _ = post_to(drip(endless(200), b"x" * 65536), deadline_s=10.0)
    assert (answer.status, answer.error) == (200, None)
    assert answer.duration_ms < 5000


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (silence, SendError.TIMEOUT),
        (drip(b"HTTP/1.1 ", b"2"), SendError.TIMEOUT),
        (drip(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"), SendError.TIMEOUT),
        (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), SendError.TIMEOUT),
        (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), SendError.PROTOCOL),
        (raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000), SendError.PROTOCOL),
        (raw(b""), SendError.PROTOCOL),
        (hang_up, SendError.CONNECT),
    ],
    ids=[
        "silent",
        "dripping status",
        "dripping headers",
        "only 100s",
        "not http",
        "huge header",
        "closed",
        "reset",
    ],
)
def test_an_invalid_answer_is_an_error_value(script: Script, error: SendError) -> None:
    """Whatever a receiver does instead of answering is returned as one error, within the deadline."""
    answer, _ = post_to(script, deadline_s=0.5)
    assert (answer.status, answer.error, answer.retry_after) == (None, error, None)
    assert answer.duration_ms < 2000


def test_a_closed_port_is_a_connect_error() -> None:
    """A port on which no server listens is a network error, found at once."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        answer = asyncio.run(CallbackSender(allow_loopback=True).post(f"http://localhost:{port}/", {}, b""))
    assert answer.error is SendError.CONNECT


def test_a_receiver_that_accepts_no_connection_is_a_timeout() -> None:
    """A receiver with a full backlog delays the attempt by the connect timeout only."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        sender = CallbackSender(allow_loopback=True, connect_s=0.3, deadline_s=1.0)
        answer = asyncio.run(sender.post(f"http://127.0.0.1:{full.getsockname()[1]}/", {}, b""))
    assert answer.error is SendError.TIMEOUT
    assert answer.duration_ms < 2000


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is used, because it would resolve the name itself."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert post_to(reply(200))[0].status == 200


def test_nothing_secret_is_logged(written: WrittenLines, caplog: pytest.LogCaptureFixture) -> None:
    """No log line, and no record of a library at any level, has the path, the query, the signature or the body."""
    caplog.set_level(logging.DEBUG)
    post_to(reply(200))
    told = written.text + caplog.text
    assert not any(secret in told for secret in ("hidden", "/cb", "v1,secret", "response.completed"))


@pytest.mark.parametrize(
    "spelling",
    ["https://hooks.contoso.com/other", "https://HOOKS.contoso.com.:8443/", "https://hooks.contoso.com"],
)
@pytest.mark.parametrize(("first", "share"), [(True, 6), (False, 3)], ids=["first attempts", "retries"])
async def test_a_host_that_has_not_answered_has_a_quarter_of_the_slots(spelling: str, first: bool, share: int) -> None:
    """It has 6 first attempts and 3 retries at once, in any spelling. Neither kind waits for the other."""
    sender = CallbackSender()
    async with AsyncExitStack() as held:
        for url in ([NAME_URL, spelling] * share)[:share]:
            await held.enter_async_context(sender.admit(url, url, first=first, patience_s=0))
        for url in (NAME_URL, spelling):
            with pytest.raises(NoCapacity):
                await held.enter_async_context(sender.admit(url, url, first=first, patience_s=0))
        await held.enter_async_context(sender.admit(NAME_URL, "ann", first=not first, patience_s=0))
        await held.enter_async_context(sender.admit("https://other.contoso.com/", "ann", first=first, patience_s=0))


@pytest.mark.parametrize("spelling", ["https://HOOKS.contoso.com.:8443/", "https://hooks.contoso.com"])
async def test_the_outlook_tells_of_an_open_breaker_and_of_no_other_caller(spelling: str) -> None:
    """After five failures the outlook for this caller and host, in any spelling, is the time of the next attempt."""
    clock = Clock()
    sender = CallbackSender(now_ms=clock.now_ms)
    for _ in range(FAILURES_IN_A_ROW):
        async with sender.admit(NAME_URL, "ann", first=True, patience_s=0) as admission:
            admission.answer = Answer(503, None, None, duration_ms=1)
    assert sender.outlook(sender.host(spelling), "ann", first=False).open_until_ms == clock.ms + OPEN_MS
    assert sender.outlook(sender.host(spelling), "bob", first=False) == Outlook(0, is_long=False, is_free=True)


@pytest.mark.parametrize(("first", "most"), [(True, 24), (False, 12)], ids=["first attempts", "retries"])
async def test_the_number_of_slots_is_limited(first: bool, most: int) -> None:
    """24 first attempts and 12 retries run at once, for any number of hosts."""
    sender = CallbackSender()
    async with AsyncExitStack() as held:
        for number in range(most):
            url = f"https://host{number}.contoso.com/"
            await held.enter_async_context(sender.admit(url, url, first=first, patience_s=0))
        with pytest.raises(NoCapacity):
            await held.enter_async_context(sender.admit(NAME_URL, "ann", first=first, patience_s=0))
        await held.enter_async_context(sender.admit(NAME_URL, "ann", first=not first, patience_s=0))


def test_timeouts_leave_no_connection_behind() -> None:
    """After a timeout in every slot at once, the next callback is sent as usual."""

    async def scenario() -> tuple[list[Answer], Answer]:
        sender = CallbackSender(allow_loopback=True, deadline_s=0.5)
        async with Receiver(silence) as hole, Receiver(reply(200)) as receiver, aclosing(sender):
            lost = await asyncio.gather(*(sender.post(hole.url, FIELDS, BODY) for _ in range(MAX_SENDS)))
            assert len(hole.requests) == MAX_SENDS
            return lost, await sender.post(receiver.url, FIELDS, BODY)

    lost, answer = asyncio.run(scenario())
    assert {each.error for each in lost} == {SendError.TIMEOUT}
    assert answer.status == 200
