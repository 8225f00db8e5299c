"""A load of thousands of deliveries: planned answers, receivers, and storage that loses requests and answers."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from azure.core.exceptions import ServiceRequestError, ServiceResponseError

from shared.contract import responses
from shared.core import blobs, states
from shared.core.changesets import ChangeSet
from shared.core.ids import derived_id, event_id, shard_of
from shared.core.outcomes import Answer, SendError
from shared.core.records import Record, RequestInfo, Target
from shared.core.states import Status
from shared.storage import operations
from shared.storage.batches import Operation
from shared.storage.table_client import Table
from shared.storage.wire import Answer as StorageAnswer
from shared.transitions import response_transitions
from shared.transitions.delivery_transitions import FirstAttempt
from shared.transitions.response_transitions import DAY_MS, Ending
from tests.support.clocks import START_MS, Clock
from tests.support.fakes.peers import ScriptedReceiver, head_of

Outcome = int | SendError
ENDED = Status.COMPLETED
CALLERS = ("ann", "bob", "cem", "dee", "eve")
HOSTS = 40
DOWN_HOST = "h0.contoso.com"
DOWN_MS = 180_000  # for this time after the start, that host answers 503 to everything
LATENCY_S = 0.02
GONE_SHARE = 0.03
# What some receivers answer first: the outcome, the share of receivers, and how many times at most.
TROUBLE: tuple[tuple[Outcome, float, int], ...] = (
    (500, 0.05, 3),
    (429, 0.03, 2),
    (SendError.TIMEOUT, 0.03, 2),
    (SendError.CONNECT, 0.03, 3),
    (404, 0.01, 1),
)
OPERATIONS = 100


@dataclass(frozen=True)
class Course:
    """The plan of one delivery: its number, its caller, and its receiver's answers, of which the last is repeated."""

    n: int
    caller: str
    answers: tuple[Outcome, ...]

    @property
    def id(self) -> str:
        """The id of the response."""
        return derived_id(b"fleet", str(self.n).encode())

    @property
    def url(self) -> str:
        """The callback URL."""
        return f"https://h{self.n % HOSTS}.contoso.com/{self.n}"

    @property
    def end(self) -> str:
        """The state that the delivery must reach."""
        return "gone" if self.answers[-1] == 410 else "delivered"

    @property
    def webhook_id(self) -> str:
        """The id of the event, which is the same on every attempt."""
        return event_id(self.id, states.event_type(ENDED))


def courses(count: int, rng: random.Random) -> list[Course]:
    """Return the plans of this number of deliveries, most of which succeed at once."""
    return [Course(n, rng.choice(CALLERS), (*_before(rng), _last(rng))) for n in range(count)]


def _before(rng: random.Random) -> Iterator[Outcome]:
    drawn = rng.random()
    for outcome, share, most in TROUBLE:
        if 0 <= drawn < share:
            yield from [outcome] * rng.randint(1, most)
        drawn -= share


def _last(rng: random.Random) -> Outcome:
    return 410 if rng.random() < GONE_SHARE else rng.choice((200, 202, 204))


async def plant(table: Table, planned: Iterable[Course]) -> None:
    """Write each response as it is at its end, with its alarms, in transactions of up to 100 operations."""
    waiting: dict[str, list[Any]] = defaultdict(list)
    for course in planned:
        shard = shard_of(course.id)
        rows, _ = operations.of_change_set(_ended(course), "planted")
        if len(waiting[shard]) + len(rows) > OPERATIONS:
            await table.submit_transaction(waiting.pop(shard))
        waiting[shard] += rows
    for left in waiting.values():
        await table.submit_transaction(left)


def _ended(course: Course) -> ChangeSet:
    born_ms = START_MS - 5_000
    record = Record(
        course.id,
        course.caller,
        born_ms,
        START_MS + DAY_MS,
        request=RequestInfo(store=True, background=True, callback_url=course.url),
    )
    body = responses.present(record, ENDED, {"output": [{"number": course.n}]}, {}, START_MS)
    later = {Target.CALLBACK: FirstAttempt(urlsplit(course.url).hostname or "", START_MS)}
    return response_transitions.end(record, Ending(ENDED, blobs.pack(body)), START_MS, 30 * DAY_MS, later)


@dataclass
class Fleet:
    """The receivers of all deliveries, and what they have received, by URL."""

    planned: Sequence[Course]
    clock: Clock
    rng: random.Random
    posts: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)  # POSTs after the final answer
    webhook_ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        self._left = {one.url: list(one.answers) for one in self.planned}
        self.over: set[str] = set()

    def take(self, url: str, webhook_id: str) -> Outcome:
        """Record an event and return its receiver's answer."""
        self.posts[url] += 1
        self.webhook_ids[url].add(webhook_id)
        if url in self.over:
            self.repeats[url] += 1
        if self.clock.ms < START_MS + DOWN_MS and urlsplit(url).hostname == DOWN_HOST:
            return 503
        if len(self._left[url]) == 1:
            self.over.add(url)
        return head_of(self._left[url])


class Carrier(ScriptedReceiver):
    """The sender of one process, whose task is cancelled at POST number `crashes_at`, unless that is 0."""

    def __init__(self, fleet: Fleet, *, crashes_at: int = 0) -> None:
        super().__init__(now_ms=lambda: fleet.clock.ms)
        self._fleet = fleet
        self._dies_at = crashes_at
        self.process: asyncio.Task[None] | None = None
        self.sent: list[str] = []

    async def post(
        self,
        address: str,
        headers: Mapping[str, str],
        body: bytes,  # noqa: ARG002 - the same at every attempt, as other tests show
        *,
        hosts: Collection[str] = (),  # noqa: ARG002
    ) -> Answer:
        """Make one attempt, which takes up to 20 ms."""
        outcome = self._fleet.take(address, headers["webhook-id"])
        self.sent.append(address)
        number = len(self.sent)
        await asyncio.sleep(self._fleet.rng.random() * LATENCY_S)
        if number == self._dies_at and self.process:
            self.process.cancel()
        if isinstance(outcome, SendError):
            return Answer(None, outcome, None, duration_ms=1)
        return Answer(outcome, None, "30" if outcome == 429 else None, duration_ms=1)


class LossyTable(Table):
    """A table client that loses a share of the requests before storage, and the same share of the answers after it.

    Both look alike to the caller. A proxy would do the same, but would take as long as everything else together.
    """

    rng: random.Random
    share: float
    lost: Counter[str]  # what was lost, by kind

    async def transact(self, operations: Sequence[Operation]) -> list[Mapping[str, Any]]:
        """Carry out operations, or lose their request or its answer."""
        self._lose_request()
        done = await super().transact(operations)
        self._lose_answer("transaction carried out")
        return done

    async def _read(self, path: str, query: Mapping[str, str]) -> StorageAnswer:
        self._lose_request()
        answer = await super()._read(path, query)
        self._lose_answer("row read")
        return answer

    def _lose_request(self) -> None:
        if self.rng.random() < self.share:
            self.lost["request"] += 1
            raise ServiceRequestError("the request is lost")

    def _lose_answer(self, what: str) -> None:
        if self.rng.random() < self.share:
            self.lost[what] += 1
            raise ServiceResponseError("the answer is lost")
