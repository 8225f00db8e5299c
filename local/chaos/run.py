"""One run: a plan is carried out, then everything must become quiet, and is audited."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from local.chaos.audit.final import Audit, check_limit, redeliver
from local.chaos.audit.queued import QueuedRequests
from local.chaos.audit.rows import Rows, check_leases, check_permits, check_rows, open_work, read_rows
from local.chaos.load.callers import Callers
from local.chaos.load.clients import Clients
from local.chaos.load.ledger import Ledger
from local.chaos.plan import Fault, Plan
from local.chaos.world.saboteur import Saboteur
from local.chaos.world.site import Site, site
from local.stack.process import ROOT

QUIET_S = 120.0  # the heartbeat finds what is due within 90 s, and a lease is at most 30 s
CALLS_S = 330.0  # how long after the load the last call may take
REDELIVERED_S = 60.0
RETURNED_S = 5.0  # in which the permit of an ended response is given back
HANDLED_S = 30.0  # in which a host that lives accepts a queued request that it has taken
SAMPLED_S = 2.0
FAULTS_AT_ONCE = 12

Say = Callable[[str], None]


@dataclass
class Report:
    """What a run has done and found."""

    plan: Plan
    ledger: Ledger
    faults: Counter[str]
    repeats: Counter[str]
    seconds: dict[str, float] = field(default_factory=dict)
    responses: int = 0
    rows: int = 0

    @property
    def holds(self) -> bool:
        """Whether nothing was violated."""
        return not self.ledger.violations


def run(plan: Plan, directory: Path, say: Say, app: Path = ROOT, *, stops_at_first: bool = False) -> Report:
    """Carry out a plan with the app in a directory, and return what was found.

    With `stops_at_first` the run ends at the first violation.
    """
    with site(directory, plan, app) as running, ThreadPoolExecutor(FAULTS_AT_ONCE) as pool:
        one = _Run(running, say, pool)
        asyncio.run(one.until_first_violation() if stops_at_first else one.carry_out())
        return one.report


class _Run:
    def __init__(self, running: Site, say: Say, pool: ThreadPoolExecutor) -> None:
        self._site, self._say, self._pool = running, say, pool
        self._plan, self._ledger = running.plan, Ledger()
        self._saboteur = Saboteur(running)
        self._queued = QueuedRequests(running, self._saboteur)
        self.report = Report(running.plan, self._ledger, self._saboteur.happened, Counter())

    async def until_first_violation(self) -> None:
        """Carry out the plan, or its beginning up to the first violation."""
        whole = asyncio.create_task(self.carry_out())
        while not whole.done() and not self._ledger.violations:
            await asyncio.wait([whole], timeout=0.5)
        if whole.done():
            whole.result()
        whole.cancel()
        await asyncio.gather(whole, return_exceptions=True)

    async def carry_out(self) -> None:
        """Carry out the plan, wait for quiet, and audit."""
        keys = {name: one.api_key for name, one in self._site.credentials.items()}
        async with Clients([one.port for one in self._site.fronts], keys, self._ledger) as clients:
            callers = Callers(self._site, clients, self._ledger)
            aside = [asyncio.create_task(one) for one in (callers.observe(self._plan.seed), self._sample())]
            try:
                await self._timed("load", self._load(callers))
                await self._timed("quiet", self._quiet())
            finally:
                for task in aside:
                    task.cancel()
                ends = await asyncio.gather(*aside, return_exceptions=True)
            for end in ends:
                if isinstance(end, Exception):  # nobody has looked since then. A cancelled one has looked to its end
                    raise end
            await self._timed("audit", self._audit(clients))

    async def _timed(self, name: str, part: Awaitable[None]) -> None:
        began = time.monotonic()
        await part
        self.report.seconds[name] = round(time.monotonic() - began, 1)
        self._say(f"{name} over after {self.report.seconds[name]:g} s, {len(self._ledger.violations)} violations")

    async def _load(self, callers: Callers) -> None:
        began = time.monotonic()
        faults = asyncio.create_task(self._sabotage(began))
        calls = [asyncio.create_task(callers.make(call, began)) for call in self._plan.calls]
        try:
            done, late = await asyncio.wait(calls, timeout=self._plan.seconds + CALLS_S)
            for task in done:
                task.result()
            self._ledger.check("every call comes to its end", not late, f"{len(late)} are still under way")
            await faults
        finally:
            for task in (faults, *calls):
                task.cancel()

    async def _sabotage(self, began: float) -> None:
        await asyncio.gather(*(self._carry_out(fault, began) for fault in self._plan.faults))
        await asyncio.to_thread(self._saboteur.heal)

    async def _carry_out(self, fault: Fault, began: float) -> None:
        await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
        await asyncio.get_running_loop().run_in_executor(self._pool, self._saboteur.carry_out, fault)

    async def _sample(self) -> None:
        while True:
            for host in self._site.hosts:
                host.sample()
            await asyncio.to_thread(check_limit, self._site, self._ledger)
            await asyncio.sleep(SAMPLED_S)

    async def _quiet(self) -> None:
        """Wait until nothing is left to do. What is left at the deadline is late."""
        end, left = time.monotonic() + QUIET_S, ["unread"]
        permits, requests = _Watched(), _Watched()
        while left and time.monotonic() < end:
            await asyncio.sleep(1.0)
            left = await asyncio.to_thread(self._left, permits, requests)
        self._ledger.check("everything is done in time", not left, f"{len(left)} are late: {left[:8]}")

    def _left(self, permits: "_Watched", requests: "_Watched") -> list[str]:
        """Return what is left to do: work in the table, and queued requests without an answer.

        A permit that is in use is on its way back, unless it stays for some seconds. Nobody works on a request that a
        killed host had, until the platform shows it again.
        """
        rows = read_rows(self._site.connection, only_open=True)
        left = open_work(rows) + [f"{one} messages of requests" for one in [self._queued.visible()] if one]
        if permits.unchanged_s({*rows.permits}) < RETURNED_S:
            left += rows.permits
        unanswered = self._queued.unanswered()
        is_hidden = requests.unchanged_s({*unanswered}) > HANDLED_S and len(unanswered) <= self._queued.kept()
        return left if is_hidden else left + unanswered

    async def _audit(self, clients: Clients) -> None:
        rows = await asyncio.to_thread(read_rows, self._site.connection)
        check_rows(self._ledger, rows)
        check_permits(self._ledger, rows, self._saboteur.spans)
        lapsed = [one for host in self._site.hosts for one in host.lapsed()]
        check_leases(self._ledger, rows, lapsed, self._saboteur.spans)
        await self._deliver_the_rest(clients, rows)
        audit = Audit(self._site, clients, self._ledger, self._queued)
        await audit.read()
        await audit.check_usage()
        for check in (audit.check_callbacks, audit.check_upstreams, audit.check_queues, audit.check_hosts):
            await asyncio.to_thread(check)
        self.report.repeats = audit.repeats
        self.report.responses, self.report.rows = len(audit.responses), rows.count

    async def _deliver_the_rest(self, clients: Clients, rows: Rows) -> None:
        """Let every receiver answer, restart the hosts, whose circuit breakers forget, and deliver what is open."""
        still = [
            response_id
            for response_id, record in rows.records.items()
            if any(one.get("state", "pending") == "pending" for one in record.get("deliveries", ()))
        ]
        await asyncio.to_thread(self._site.revive)
        await asyncio.to_thread(self._site.start_afresh)
        await redeliver(clients, self._ledger, still, REDELIVERED_S)


class _Watched:
    """Names that are looked at again and again, and since when they are the same."""

    def __init__(self) -> None:
        self._names, self._since = set[str](), time.monotonic()

    def unchanged_s(self, names: set[str]) -> float:
        """Take the names as they are now, and return for how many seconds they have been the same."""
        if names != self._names:
            self._names, self._since = names, time.monotonic()
        return time.monotonic() - self._since
