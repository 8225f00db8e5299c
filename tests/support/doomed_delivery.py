"""Make one delivery attempt in a process that kills itself at a chosen step.

    python -m tests.support.doomed_delivery SHARD --dies MOMENT

The process runs the production engine, built from the settings in the environment. Only the store and the sender are
replaced, by subclasses that know each step.
"""

import argparse
import asyncio
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shared.bootstrap import build_ports
from shared.core.alarms import Alarm
from shared.core.changesets import ChangeSet
from shared.core.outcomes import Answer
from shared.core.records import Record, Target
from shared.engine import Engine
from shared.senders.callbacks import CallbackSender
from shared.settings import load_settings
from shared.storage.messages import Wakeup
from shared.storage.store import Store


@dataclass(frozen=True)
class Doom:
    """The step at which this process kills itself with SIGKILL, or an empty text for never."""

    moment: str

    def passes(self, moment: str) -> None:
        """Kill the process if this is the step."""
        if moment == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)


class DoomedStore(Store):
    """A store whose transactions can kill the process: before one is sent, or after its answer is read."""

    def __init__(self, store: Store, doom: Doom) -> None:
        super().__init__(store._table)
        self._doom = doom

    async def move(self, shard: str, moves: Sequence[tuple[Alarm, Alarm]]) -> list[Alarm]:
        """Move the alarm of an attempt, and so claim it."""
        self._doom.passes("before the claim")
        moved = await super().move(shard, moves)
        self._doom.passes("after the claim")
        return moved

    async def commit(self, change: ChangeSet, write_id: str = "") -> Record:
        """Note an attempt."""
        self._doom.passes("before the note")
        record = await super().commit(change, write_id)
        self._doom.passes("after the note")
        return record


@dataclass(eq=False)
class DoomedSender(CallbackSender):
    """A sender whose POST can kill the process: before it is sent, or after its answer is read."""

    doom: Doom = field(default_factory=lambda: Doom(""))

    async def post(
        self, address: str, headers: Mapping[str, str], body: bytes, *, hosts: Collection[str] = ()
    ) -> Answer:
        """Make one attempt."""
        self.doom.passes("before the post")
        answer = await super().post(address, headers, body, hosts=hosts)
        self.doom.passes("after the post")
        return answer


async def deliver(shard: str, doom: Doom) -> None:
    """Make the attempt whose alarm is due in a shard."""
    ports = build_ports(load_settings())
    senders = {**ports.senders, Target.CALLBACK: DoomedSender(allow_loopback=True, doom=doom)}
    engine = Engine(replace(ports, store=DoomedStore(ports.store, doom), senders=senders))
    await engine.sweep(Wakeup(shard, 0))
    await engine.aclose()


def main() -> None:
    """Make the attempt that the command line names."""
    parser = argparse.ArgumentParser(prog="tests.support.doomed_delivery", description=__doc__)
    parser.add_argument("shard", help="the shard of the response")
    parser.add_argument("--dies", default="", metavar="MOMENT", help="such as 'after the claim'")
    given = parser.parse_args()
    asyncio.run(deliver(given.shard, Doom(given.dies)))


if __name__ == "__main__":
    main()
