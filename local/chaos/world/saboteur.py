"""Makes the faults of a plan happen, and counts them."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

import psutil
from azure.core.exceptions import AzureError
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.chaos.plan import HOSTS, PAIRS, Fault, Kind
from local.chaos.world.queues import QUEUE_S, queue_client
from local.chaos.world.site import Peer, Site
from local.stack.process import PartError

HINTS = ("nudges", "deliveries", "runs")
MESSAGES = (*HINTS, "requests")
COSTLY = frozenset({Kind.KILL, Kind.PAUSE, Kind.FREEZE, Kind.RESTART, Kind.RESET, Kind.UPGRADE})
TAKEN = 16  # messages of a queue that are doubled at a time
WRITTEN_S = 60  # how long Azurite may take to write what it has
LATE_S = (2, 20)  # how much later a doubled message arrives


class Saboteur:
    """Carries out faults. Each method returns when its fault is over, and may run beside those of other kinds."""

    def __init__(self, site: Site) -> None:
        self.happened = Counter[str]()
        self.spans = list[tuple[float, float]]()  # of faults that can cost a lease or a permit, in unix seconds
        self._site = site
        self._storing = threading.Lock()
        self._acts: Mapping[Kind, Callable[[Fault], None]] = {
            Kind.KILL: self._kill,
            Kind.PAUSE: self._pause,
            Kind.FREEZE: self._freeze,
            Kind.RESTART: self._restart,
            Kind.PURGE: self._purge,
            Kind.DOUBLE: self._double,
            Kind.OUTAGE: self._outage,
            Kind.STORM: self._storm,
            Kind.ERRORS: self._errors,
            Kind.RESET: self._reset,
            Kind.UPGRADE: self._upgrade,
        }

    def carry_out(self, fault: Fault) -> None:
        """Make a fault happen. One that another fault prevents is counted as `not possible`."""
        began = time.time()
        try:
            self._acts[fault.kind](fault)
        except (AzureError, OSError):
            self.happened[f"{fault.kind}, not possible"] += 1
        else:
            self.happened[fault.kind] += 1
        if fault.kind in COSTLY:
            self.spans.append((began, time.time()))

    def heal(self) -> None:
        """End the faults of the upstreams. All others end by themselves."""
        for model in self._site.models.values():
            model.tell("/_sim/faults", outage=False, rate_limit={"n": 0}, error_rate=0)

    def _kill(self, fault: Fault) -> None:
        self._site.hosts[fault.where % HOSTS].kill(min(fault.lasts_s, 6))

    def _pause(self, fault: Fault) -> None:
        """Freeze a host as a machine does that is moved. It goes on where it was, and others may have its work."""
        self._site.hosts[fault.where % HOSTS].freeze(fault.lasts_s)

    def _upgrade(self, fault: Fault) -> None:
        """Replace a host by one of the other version, forwards and at times back."""
        host = self._site.hosts[fault.where % HOSTS]
        name = next(one for one in self._site.versions if one != host.lives[-1].version)
        host.replace(self._site.versions[name], name)

    def _freeze(self, fault: Fault) -> None:
        with self._storing:
            pid = _pid(self._site.storage)
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(fault.lasts_s)
            finally:
                os.kill(pid, signal.SIGCONT)

    def _restart(self, fault: Fault) -> None:
        """Stop storage so that it writes what it has, because Azurite keeps the last 5 s in memory, and start it."""
        with self._storing:
            storage = self._site.storage
            process = psutil.Process(_pid(storage))
            process.terminate()
            _, alive = psutil.wait_procs([process], timeout=WRITTEN_S)
            if alive:
                raise PartError("azurite", f"it has not written its data within {WRITTEN_S} s")
            storage.stop()
            time.sleep(fault.lasts_s)
            storage.start()

    def _purge(self, _fault: Fault) -> None:
        """Delete all messages that are only hints. One on `requests` is a request, and nothing else knows it."""
        with self._storing:
            for name in HINTS:
                with self._queue(name) as queue:
                    self.happened["messages purged"] += queue.get_queue_properties().approximate_message_count or 0
                    queue.clear_messages(timeout=QUEUE_S)

    def _double(self, fault: Fault) -> None:
        """Take messages off their queues and send each twice, later."""
        rng = random.Random(f"{self._site.plan.seed} {fault.number}")
        end = time.monotonic() + fault.lasts_s
        while time.monotonic() < end:
            for name in MESSAGES:
                with self._storing, self._queue(name) as queue:
                    self.happened["messages doubled"] += _doubled(queue, rng)
            time.sleep(0.5)

    def _outage(self, fault: Fault) -> None:
        model = self._model(fault)
        model.tell("/_sim/faults", outage="drop" if fault.where % 4 < 2 else "503")
        time.sleep(fault.lasts_s)
        model.tell("/_sim/faults", outage=False)

    def _storm(self, fault: Fault) -> None:
        self._model(fault).tell("/_sim/faults", rate_limit={"n": 5 + fault.where, "retry_after": 1})
        time.sleep(fault.lasts_s)
        self._model(fault).tell("/_sim/faults", rate_limit={"n": 0})

    def _errors(self, fault: Fault) -> None:
        """Let calls of an upstream fail, and some of its creates lose their answer after the work has begun."""
        self._model(fault).tell("/_sim/faults", error_rate=0.3, lose_answers=2)
        time.sleep(fault.lasts_s)
        self._model(fault).tell("/_sim/faults", error_rate=0, lose_answers=0)

    def _reset(self, fault: Fault) -> None:
        """Reset the connections of every pair, one pair after another."""
        for offset in range(len(PAIRS)):
            pair = PAIRS[(fault.where + offset) % len(PAIRS)]
            self.happened[f"connections reset: {pair}"] += self._site.relays.cut(pair)
            time.sleep(fault.lasts_s / 10)

    def _model(self, fault: Fault) -> Peer:
        return [*self._site.models.values()][fault.where % len(self._site.models)]

    def _queue(self, name: str) -> QueueClient:
        return queue_client(self._site.connection, name)


def _doubled(queue: QueueClient, rng: random.Random) -> int:
    taken = list(queue.receive_messages(max_messages=TAKEN, visibility_timeout=30, timeout=QUEUE_S))
    for message in taken:
        for _ in range(2):
            queue.send_message(message.content, visibility_timeout=rng.randint(*LATE_S), timeout=QUEUE_S)
        queue.delete_message(message, timeout=QUEUE_S)
    return len(taken)


def _pid(storage: Azurite) -> int:
    if storage.pid is None:
        raise PartError("azurite", "chaos needs Azurite as a process")
    return storage.pid
