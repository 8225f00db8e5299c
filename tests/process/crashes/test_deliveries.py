"""A process is killed with kill -9 at every step of a delivery, and the event still arrives.

It arrives twice only where no process can know that it has arrived already. A child process makes one attempt with the
production engine (doomed_delivery.py). This process then continues the delivery. Its clock is moved to the time at
which the alarm is due.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from local.azurite import Azurite
from local.stack.process import ROOT
from shared.contract import signatures
from shared.core.ids import shard_of
from shared.core.records import Target
from shared.senders.callbacks import CallbackSender
from tests.support.callback_receivers import Receiver, reply
from tests.support.fakes.peers import Gate
from tests.support.proxies.fault_proxy import StorageRequest, is_transaction
from tests.support.proxies.holding_proxy import HoldingProxy
from tests.support.stage import ANN, SECRET, Say, Stage

CLAIM, NOTE = 1, 2  # the transactions of an attempt, in order
DEADLINE_S = 60.0
LOST = 30  # requests in a row, several times as many as a process retries before it pauses


class HeldAnswers:
    """The answers of the receiver: always a 204, at once unless they are held."""

    gate: Gate | None = None

    def hold(self) -> Gate:
        """Hold every answer from now on, until the returned gate is opened."""
        self.gate = Gate()
        return self.gate

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        """Answer a request that has arrived."""
        if self.gate:
            await self.gate.wait()
        await reply(204)(writer)


@dataclass
class Scenario:
    """A receiver, storage behind the child's proxy, and the stage that continues the delivery."""

    stage: Stage
    receiver: Receiver
    held: HeldAnswers
    proxy: HoldingProxy
    settings: dict[str, str]
    log: Path
    response_id: str = ""

    @property
    def posts(self) -> int:
        """The number of POSTs that have arrived."""
        return len(self.receiver.requests)

    async def begin(self, *flags: str) -> Process:
        """Create an ended response with a callback, and start a child that attempts its delivery."""
        record = await self.stage.ended(callback_url=self.receiver.url)
        self.response_id = record.id
        with self.log.open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "tests.support.doomed_delivery",
                    *flags,
                    shard_of(record.id),
                ),
                cwd=ROOT,
                env={**os.environ, **self.settings},
                stdout=log,
                stderr=log,
            )

    async def kill_at(self, gate: Gate, *flags: str) -> None:
        """Start a child, kill it when it reaches the gate, and open the gate for later requests."""
        child = await self.begin(*flags)
        async with asyncio.timeout(DEADLINE_S):
            await gate.reached.wait()
        child.kill()
        await self.end(child, -signal.SIGKILL)
        gate.open()

    async def end(self, child: Process, code: int) -> None:
        """Wait until the child has ended with this exit code."""
        async with asyncio.timeout(DEADLINE_S):
            assert await child.wait() == code, self.log.read_text()

    async def go_on(self) -> None:
        """Act on the delivery's alarms until it is over, and check that all POSTs carry one signed event."""
        while (await self.stage.delivery(self.response_id)).is_open:
            await self.stage.fire_alarms(self.response_id)
        assert (await self.stage.delivery(self.response_id)).state == "delivered"
        assert self.posts >= 1
        assert len({(one.headers["webhook-id"], one.body) for one in self.receiver.requests}) == 1
        for one in self.receiver.requests:
            signatures.verify((SECRET,), one.headers, one.body, int(one.headers["webhook-timestamp"]))

    async def attempts(self) -> list[Any]:
        """Return the status of each listed attempt."""
        (delivery,) = (await self.stage.engine.deliveries(ANN, self.response_id))["data"]
        return [attempt["status"] for attempt in delivery["attempts"]]


@pytest.fixture
async def scenario(azurite: Azurite, connection_string: str, stage: Stage, tmp_path: Path) -> AsyncIterator[Scenario]:
    """Return a scenario in which no child has started. The stage's process leaves every attempt to a sweep."""
    held, sender = HeldAnswers(), CallbackSender(allow_loopback=True)
    stage.clock.ms = time.time_ns() // 1_000_000  # the child uses the machine's clock
    stage.change(senders={**stage.ports.senders, Target.CALLBACK: sender})
    stage.rule(allow_loopback=True)
    stage.limit(watch=False)
    async with HoldingProxy("table", azurite.ports["table"]) as proxy, Receiver(held.answer) as receiver:
        settings = deployment(proxy.through(connection_string))
        yield Scenario(stage, receiver, held, proxy, settings, tmp_path / "log")
        await sender.aclose()


def deployment(connection: str) -> dict[str, str]:
    """Return the settings of a deployment whose one caller is Ann."""
    return {
        "AzureWebJobsStorage": connection,
        "CALLERS": orjson.dumps([{"name": ANN.name, "keys": [], "signing_secrets": [SECRET]}]).decode(),
        "CALLBACK_ALLOW_LOOPBACK": "true",
        "UPSTREAM_BASE_URL": "http://127.0.0.1:9/v1",
    }


def is_any(_request: StorageRequest) -> bool:
    """Match every request to storage."""
    return True


async def reckon(scenario: Scenario, say: Say, posts: int, listed: list[int | None]) -> None:
    """Finish the delivery, then assert the number of POSTs and the statuses of the listed attempts.

    An attempt that was claimed and not noted has no status.
    """
    await scenario.go_on()
    say(f"{scenario.posts} POST, {(await scenario.stage.delivery(scenario.response_id)).attempt} attempts claimed")
    assert (scenario.posts, await scenario.attempts()) == (posts, listed)


@pytest.mark.parametrize(
    ("moment", "posts", "listed"),
    [
        ("before the claim", 1, [204]),
        ("after the claim", 1, [None, 204]),
        ("before the post", 1, [None, 204]),
        ("after the post", 2, [None, 204]),
        ("before the note", 2, [None, 204]),
        ("after the note", 1, [204]),
    ],
)
async def test_a_process_is_killed_at_a_step_of_its_attempt(
    scenario: Scenario, say: Say, moment: str, posts: int, listed: list[int | None]
) -> None:
    """The event is sent twice only if the process is killed between the receiver's answer and its note."""
    await scenario.end(await scenario.begin("--dies", moment), -signal.SIGKILL)
    await reckon(scenario, say, posts, listed)


@pytest.mark.parametrize(
    ("nth", "carried_out", "posts", "listed"),
    [(CLAIM, False, 1, [204]), (CLAIM, True, 1, [None, 204]), (NOTE, False, 2, [None, 204]), (NOTE, True, 1, [204])],
    ids=["claim lost", "claim unanswered", "note lost", "note unanswered"],
)
async def test_a_process_is_killed_while_it_waits_for_storage(
    scenario: Scenario, say: Say, nth: int, carried_out: bool, posts: int, listed: list[int | None]
) -> None:
    """A transaction that storage has carried out counts, even if its answer is never read.

    A transaction that never reached storage does not count.
    """
    await scenario.kill_at(scenario.proxy.hold(is_transaction, nth, carried_out=carried_out))
    await reckon(scenario, say, posts, listed)


async def test_a_process_is_killed_before_the_receiver_answers(scenario: Scenario, say: Say) -> None:
    """A request that has arrived and is not answered is sent again under the same id."""
    await scenario.kill_at(scenario.held.hold())
    assert scenario.posts == 1
    await reckon(scenario, say, 2, [None, 204])


@pytest.mark.parametrize("carried_out", [False, True], ids=["requests lost", "answers lost"])
async def test_a_storage_outage_causes_no_duplicate(scenario: Scenario, say: Say, carried_out: bool) -> None:
    """A process that stays alive records its attempt when storage is back, and sends nothing again."""
    answering = scenario.held.hold()
    child = await scenario.begin()
    await answering.reached.wait()
    began, before = time.monotonic(), scenario.proxy.counts.total()
    for nth in range(1, LOST + 1):
        (scenario.proxy.drop_answer if carried_out else scenario.proxy.lose)(is_any, nth)
    answering.open()
    await scenario.end(child, 0)
    assert scenario.proxy.counts.total() - before > LOST
    say(f"{LOST} {'answers' if carried_out else 'requests'} lost within {time.monotonic() - began:.1f} s")
    await reckon(scenario, say, 1, [204])
