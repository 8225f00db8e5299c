"""Deliveries to receivers of every kind, with the real engine and the real sender: their outcomes and retries."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from shared.core.records import Target
from shared.senders.callbacks import CallbackSender
from shared.senders.pinned_dialer import Resolve
from tests.support.callback_receivers import (
    Certificate,
    Detour,
    Receiver,
    Script,
    drip,
    endless,
    hang_up,
    raw,
    replies,
    reply,
    silence,
)
from tests.support.clocks import START_MS
from tests.support.stage import ANN, CALLBACK_URL, Stage

PUBLIC = "93.184.216.34"
OPEN = "pending"
DATE = "Fri, 15 Jan 2027 08:20:00 GMT"  # 20 minutes after the clock of a stage


def answering(*rounds: list[str] | OSError) -> Resolve:
    """Return a resolver that gives one round of addresses after the other, and repeats the last one."""
    left = list(rounds)

    async def resolve(_host: str, _port: int) -> list[str]:
        answers = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answers, OSError):
            raise answers
        return answers

    return resolve


async def never(_host: str, _port: int) -> list[str]:
    """Wait forever instead of resolving a name."""
    await asyncio.Event().wait()
    return []


class Unvetted(CallbackSender):
    """A sender that accepts every URL at a create. The checks of a create have tests of their own."""

    async def vet(self, _url: str) -> None:
        """Accept a URL."""


class Network:
    """The network of a stage whose callbacks go out over TLS. Every public address leads to one receiver."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self._stage = stage
        self._folder = folder
        self._open = AsyncExitStack()

    async def __aenter__(self) -> "Network":
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._open.aclose()

    async def deliver_to(
        self,
        script: Script = reply(200),  # noqa: B008 - a constant
        *,
        resolve: Resolve = answering([PUBLIC]),  # noqa: B008
        names: tuple[str, ...] = ("hooks.contoso.com",),
        **certified: Any,
    ) -> str:
        """End a response whose callback goes to this receiver, and make the first attempt. Return the response's id."""
        certificate = Certificate(self._folder, *names, **certified)
        self.receiver = await self._open.enter_async_context(Receiver(script, certificate.server))
        self.detour = Detour(self.receiver.port)
        sender = Unvetted(
            resolve=resolve,
            resolve_s=0.2,
            connect_s=5.0,
            deadline_s=1.0,
            drain_s=0.1,
            ssl_context=certificate.client,
            dialer=self.detour,
        )
        self._open.push_async_callback(sender.aclose)
        self._stage.change(senders={Target.CALLBACK: sender, Target.REPLY_QUEUE: self._stage.replies})
        response_id = (await self._stage.ended(callback_url=CALLBACK_URL)).id
        await self._stage.deliver()
        return response_id

    async def outcome_of(self, response_id: str) -> tuple[str, Any, int | None]:
        """Return a delivery's state, the status or error of its last attempt, and the seconds until its next one."""
        (delivery,) = (await self._stage.engine.deliveries(ANN, response_id))["data"]
        attempt, next_s = delivery["attempts"][-1], delivery["next_attempt_at"]
        wait_s = None if next_s is None else round(next_s - self._stage.clock.ms / 1000)
        return delivery["state"], attempt["status"] or attempt["error"], wait_s


@pytest.fixture
async def network(stage: Stage, tmp_path: Path) -> AsyncIterator[Network]:
    """Give the test an engine and a place for one receiver."""
    async with Network(stage, tmp_path) as network:
        yield network


RECEIVERS: dict[str, tuple[Script, tuple[str, Any, int | None]]] = {
    "accepts": (reply(202, body=b"thanks"), ("delivered", 202, None)),
    "accepts and goes on sending": (drip(endless(200), b"x" * 1_000), ("delivered", 200, None)),
    "accepts after a 100": (raw(b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 204 Done\r\n\r\n"), ("delivered", 204, None)),
    "does not answer": (silence, (OPEN, "timeout", 10)),
    "closes without an answer": (raw(b""), (OPEN, "protocol", 5)),
    "resets the connection": (hang_up, (OPEN, "connect", 5)),
    "answers without HTTP": (raw(b"<html>200 OK</html>\r\n"), (OPEN, "protocol", 5)),
    "sends 100 again and again": (drip(b"", b"HTTP/1.1 100 Go\r\n\r\n" * 1_000), (OPEN, "protocol", 5)),
    "redirects": (reply(307, "Location: https://other.contoso.com/"), (OPEN, 307, 5)),
    "is gone": (reply(410), ("gone", 410, None)),
    "refuses the size": (reply(413), ("failed", 413, None)),
    "fails": (reply(500), (OPEN, 500, 5)),
    "is overloaded": (reply(503), (OPEN, 503, 10)),
    "asks to wait two minutes": (reply(429, "Retry-After: 120"), (OPEN, 429, 121)),
    "asks to wait until a time": (reply(429, f"Retry-After: {DATE}"), (OPEN, 429, 1201)),
    "asks to wait a month": (reply(503, "Retry-After: 2592000"), (OPEN, 503, 7210)),
    "asks to wait for an unreadable time": (reply(429, "Retry-After: soon"), (OPEN, 429, 60)),
}


@pytest.mark.parametrize(("script", "expected"), RECEIVERS.values(), ids=RECEIVERS)
async def test_the_answer_of_a_receiver_decides_what_follows(
    network: Network, script: Script, expected: tuple[str, Any, int | None]
) -> None:
    """One attempt over one connection gives the state, error and next attempt that belong to the receiver's answer."""
    assert await network.outcome_of(await network.deliver_to(script)) == expected
    assert (network.detour.dialled, network.receiver.connections) == ([PUBLIC], 1)
    assert [orjson.loads(request.body)["type"] for request in network.receiver.requests] == ["response.completed"]


@pytest.mark.parametrize(
    "certified",
    [{"expired": True}, {"names": ("other.contoso.com", PUBLIC)}],
    ids=["expired", "for another name"],
)
async def test_a_bad_certificate_is_retried(network: Network, certified: dict[str, Any]) -> None:
    """A bad certificate is retried on the full schedule, because certificates are renewed. No request is sent."""
    assert await network.outcome_of(await network.deliver_to(**certified)) == (OPEN, "tls", 5)
    assert network.receiver.requests == []


NAMES: dict[str, Callable[[], Resolve]] = {
    "does not exist": lambda: answering(socket.gaierror(socket.EAI_NONAME, "")),
    "has no address": lambda: answering([]),
    "is not answered in time": lambda: never,
    "has an internal address": lambda: answering(["10.0.0.1"]),
    "has 17 addresses": lambda: answering([f"93.184.0.{n}" for n in range(17)]),
    "has a public and an internal address": lambda: answering([PUBLIC, "169.254.169.254"]),
}


@pytest.mark.parametrize("resolve", NAMES.values(), ids=NAMES)
async def test_a_name_without_a_public_address_is_retried_and_not_dialled(
    network: Network, resolve: Callable[[], Resolve]
) -> None:
    """A name that gives no usable public address is retried, because DNS fails at times. No connection is made.

    The caller sees the same error for every cause.
    """
    assert await network.outcome_of(await network.deliver_to(resolve=resolve())) == (OPEN, "no_public_address", 5)
    assert network.detour.dialled == []


async def test_a_name_that_turns_to_an_internal_address_is_not_dialled(network: Network, stage: Stage) -> None:
    """A name that turns to an internal address after the first attempt is not dialled again.

    The second such refusal in a row blocks the delivery.
    """
    rebinding = answering([PUBLIC], ["169.254.169.254"])
    response_id = await network.deliver_to(reply(500, "connection: close"), resolve=rebinding)
    await stage.fire_alarms(response_id)
    assert await network.outcome_of(response_id) == (OPEN, "no_public_address", 300)
    await stage.fire_alarms(response_id)
    assert await network.outcome_of(response_id) == ("blocked", "no_public_address", None)
    assert (network.detour.dialled, len(network.receiver.requests)) == ([PUBLIC], 1)


async def test_a_name_that_recovers_is_delivered_to(network: Network, stage: Stage) -> None:
    """A name that is missing and then has an internal address costs two attempts, and the third is delivered."""
    healing = answering(socket.gaierror(socket.EAI_NONAME, ""), ["10.0.0.1"], [PUBLIC])
    response_id = await network.deliver_to(resolve=healing)
    await stage.fire_alarms(response_id)
    await stage.fire_alarms(response_id)
    assert await network.outcome_of(response_id) == ("delivered", 200, None)
    assert stage.clock.ms == START_MS + 305_000


async def test_a_receiver_that_recovers_gets_the_same_event(network: Network, stage: Stage) -> None:
    """After an error, a reset and an invalid answer, the event arrives with the same id and bytes."""
    response_id = await network.deliver_to(replies(reply(500), hang_up, raw(b"oops"), reply(200)))
    for _ in range(3):
        await stage.fire_alarms(response_id)
    assert await network.outcome_of(response_id) == ("delivered", 200, None)
    requests = network.receiver.requests
    assert len(requests) == 4
    assert len({(request.headers["webhook-id"], request.body) for request in requests}) == 1
