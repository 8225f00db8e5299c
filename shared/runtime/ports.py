"""The ports: everything outside the flows, one field each."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from shared.contract.callers import Callers
from shared.core.alarms import AnsweredPolls
from shared.core.backoff import PollPace
from shared.core.outcomes import Answer
from shared.core.records import Record, Target
from shared.gates.gates import Gates
from shared.runtime.background import BackgroundTasks
from shared.runtime.clock import Clock
from shared.runtime.config import Config
from shared.runtime.leases import Leases
from shared.runtime.local_runs import LocalRuns
from shared.runtime.poll_slots import PollSlots
from shared.runtime.quotas import Entrance, InFlight
from shared.runtime.single_flight import InProgress, SingleFlight, Turns
from shared.runtime.watches import Watches
from shared.senders.admission import Admission, Outlook
from shared.storage.request_queue import RequestQueue
from shared.storage.store import Store
from shared.storage.wakeups import Wakeups
from shared.telemetry.rates import Rates
from shared.upstreams.protocol import Progress
from shared.upstreams.routes import Upstreams


class Sender(Protocol):
    """Sends terminal events to one kind of target. An address is a URL or the name of a queue."""

    def admit(
        self, address: str, caller: str, *, first: bool, patience_s: float
    ) -> AbstractAsyncContextManager[Admission]:
        """Hold the right to make one attempt for a caller. `first`: the delivery has had no attempt before.

        Raises CircuitOpen if the circuit breaker of the host is open, and NoCapacity if no slot is free within
        `patience_s` seconds.
        """

    def host(self, address: str) -> str:
        """Return the host that circuit breaker and bulkhead go by, or an empty string if attempts are never put off."""

    def outlook(self, host: str, caller: str, *, first: bool) -> Outlook:
        """Return what an attempt would meet now: an open circuit breaker, a long line for a slot, or neither.

        This changes nothing. It is an estimate, because other attempts may come first.
        """

    async def vet(self, address: str) -> None:
        """Raise CallbackUrlRefused if nothing can be sent to the address, as far as that is known now."""

    async def post(
        self, address: str, headers: Mapping[str, str], body: bytes, *, hosts: Collection[str] = ()
    ) -> Answer:
        """Make one attempt and return its outcome. If the caller has `hosts`, the address must have one of them.

        This never raises, because every fault is an answer.
        """

    async def aclose(self) -> None:
        """Close the connections."""


@dataclass(frozen=True)
class Ports:
    """What the flows act with. The last thirteen fields hold what this process keeps between its invocations.

    A flow that calls storage raises StoreError if storage fails, unless its docstring says otherwise.
    """

    store: Store
    wakeups: Wakeups
    requests: RequestQueue
    upstreams: Upstreams
    gates: Gates
    senders: Mapping[Target, Sender]
    callers: Callers
    clock: Clock
    random: Callable[[], float]  # returns numbers from 0 up to 1, for jitter
    config: Config = field(default_factory=Config)
    polls: SingleFlight[Progress] = field(default_factory=SingleFlight)  # by id of the response
    background: BackgroundTasks = field(default_factory=BackgroundTasks)
    local: LocalRuns = field(default_factory=LocalRuns)
    noting: InProgress = field(default_factory=InProgress)  # attempts being noted, by response and target
    notes: Turns[Record] = field(default_factory=Turns)  # by id of the response
    poll_slots: PollSlots = field(default_factory=PollSlots)  # of the polls of sweeps and watches
    poll_pace: PollPace = field(default_factory=PollPace)  # how late the polls of each shard are
    answered: AnsweredPolls = field(default_factory=AnsweredPolls)
    leases: Leases = field(default_factory=Leases)
    watches: Watches = field(default_factory=Watches)
    entrance: Entrance = field(default_factory=Entrance)
    in_flight: InFlight = field(default_factory=InFlight)
    rates: Rates = field(default_factory=Rates)
