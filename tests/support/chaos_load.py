"""Load on a service while it is made to fail, and checks of everything that it has accepted."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event as Flag

import httpx

from local.stack.process import wait_for
from tests.support.peer_processes import Event, Json, error_of
from tests.support.service_process import Service, check_loaded, following, streaming

THREADS = 8
ACCEPTED_S = 90.0
READ_S = 130.0
SETTLED_S = 90.0  # a crash costs up to 67 s, see test_crashes.py, and a busy machine needs the rest
ENDS = {
    "sim-instant": "completed",
    "sim-1s": "completed",
    "sim-2s": "completed",
    "sim-3s": "completed",
    "sim-fail-1s": "failed",
    "sim-incomplete-1s": "incomplete",
}


@dataclass
class Load:
    """Callers that send requests, and repeat each until they read a 2xx. The seed decides the models and the pauses.

    `accepted` maps the number of a request to the id of its response. `answers` counts status codes, with None for a
    broken connection. Without idempotency keys a repeat is a new request.
    """

    running: Service
    seed: int
    count: int
    keyed: bool = False
    pause_s: float = 2.0
    accepted: dict[int, str] = field(default_factory=dict)
    answers: Counter[int | None] = field(default_factory=Counter)
    _over: Flag = field(default_factory=Flag, repr=False)

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        self._clients = [self.running.client(host=n) for n in range(len(self.running.hosts))]
        self._plan = [(rng.choice([*ENDS]), rng.uniform(0, self.pause_s)) for _ in range(self.count)]

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send during the block. At its end, wait until every request is accepted.

        An exception in the block ends the sending.
        """
        pool = ThreadPoolExecutor(THREADS)
        try:
            sent = [pool.submit(self._send, n) for n in range(self.count)]
            yield
            for one in sent:
                one.result()
        finally:
            self._over.set()
            pool.shutdown(cancel_futures=True)

    def settle(self) -> float:
        """Wait until everything has called back, and return how many seconds that took.

        No response is read meanwhile, because a read would poll the upstream.
        """
        began = time.monotonic()
        assert wait_for(lambda: not self._missing(), SETTLED_S), self._lost()
        return time.monotonic() - began

    def check(self) -> int:
        """Check everything that the service guarantees. Return how many callbacks were repeated."""
        for n, response_id in self.accepted.items():
            assert self._read(response_id)["status"] == ENDS[self._plan[n][0]]
            self._await_delivered(response_id)
        callbacks = self.running.receiver.received()
        received = {(one["response_id"], one["type"], one["webhook_id"], one["verified"]) for one in callbacks}
        assert len(received) == len({response_id for response_id, *_ in received}), "one response, two events"
        for n, response_id in self.accepted.items():
            assert (response_id, f"response.{ENDS[self._plan[n][0]]}") in {one[:2] for one in received}
        assert all(verified for *_, verified in received)
        assert self.running.model.stats()["started_twice"] == 0
        assert not (unexpected := self.running.unexpected()), unexpected
        return len(callbacks) - len(received)

    def post(self, n: int, client: httpx.Client) -> httpx.Response:
        """Send the request with this number, which is the same every time."""
        request = self.running.with_callback(model=self._plan[n][0], input=f"Request number {n}.")
        return client.post("/responses", json=request, headers={"Idempotency-Key": f"key-{n}"} if self.keyed else {})

    def _send(self, n: int) -> None:
        time.sleep(self._plan[n][1])  # the pause between two requests of one caller
        end, tries = time.monotonic() + ACCEPTED_S, n
        while n not in self.accepted and not self._over.is_set():
            assert time.monotonic() < end, f"request {n} was not accepted within {ACCEPTED_S:g} s"
            self._try(n, self._clients[tries % len(self._clients)])
            tries += 1

    def _try(self, n: int, client: httpx.Client) -> None:
        try:
            answer = self.post(n, client)
            check_loaded(answer)
        except httpx.TransportError:
            self.answers[None] += 1
            time.sleep(0.1)
            return
        self.answers[answer.status_code] += 1
        if answer.is_success:
            self.accepted[n] = answer.json()["id"]
        else:
            assert error_of(answer)[0] == 503, answer.text
            time.sleep(0.1)

    def _missing(self) -> set[str]:
        """Return the ids of all responses that have not called back.

        They include responses that started for a caller that did not read the answer.
        """
        received = {one["response_id"] for one in self.running.receiver.received()}
        return {*self.accepted.values(), *self.running.model.stats()["started"]} - received

    def _lost(self) -> str:
        """Return an error message with the state of every response that has not called back."""
        paths = [f"/responses/{one}{part}" for one in sorted(self._missing()) for part in ("", "/deliveries")]
        known = [self._get(path).text for path in paths]
        return f"no callback in time: {known}"

    def _read(self, response_id: str) -> Json:
        first, second = (self._get(f"/responses/{response_id}").json() for _ in range(2))
        assert first == second
        found: Json = first
        return found

    def _await_delivered(self, response_id: str) -> None:
        """Wait until the delivery is recorded.

        If the process crashes between a callback and its record, the callback is sent again.
        """

        def is_delivered() -> bool:
            (delivery,) = self._get(f"/responses/{response_id}/deliveries").json()["data"]
            return bool(delivery["state"] == "delivered")

        assert wait_for(is_delivered, SETTLED_S), f"the delivery of {response_id} is not recorded"

    def _get(self, path: str) -> httpx.Response:
        return self._clients[0].get(path)


@dataclass
class Reader:
    """A client of one stream. It resumes after every break, at the next host, until the terminal event."""

    clients: Sequence[httpx.Client]
    model: str
    key: str
    fields: Json = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    connections: int = 0

    @property
    def token(self) -> str | None:
        """The token of the last event, or None after the terminal event and before the first one."""
        return self.events[-1]["continuation_token"] if self.events else None

    def read(self) -> None:
        """Read all events."""
        end = time.monotonic() + READ_S
        while self.token or not self.events:
            assert time.monotonic() < end, f"{self.key} has not ended, after {len(self.events)} events"
            self._read_on(self.clients[self.connections % len(self.clients)])
            self.connections += 1

    def _read_on(self, client: httpx.Client) -> None:
        token = self.token
        opened = following(client, token) if token else streaming(client, self.model, key=self.key, **self.fields)
        try:
            with opened as events:
                for event in events:
                    self.events.append(event)
        except httpx.TransportError:
            time.sleep(0.1)


@contextmanager
def reading(readers: Sequence[Reader]) -> Iterator[None]:
    """Let the readers read during the block. At its end, wait until each has read everything."""
    with ThreadPoolExecutor(len(readers)) as pool:
        read = [pool.submit(reader.read) for reader in readers]
        yield
        for one in read:
            one.result()
