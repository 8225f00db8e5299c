"""The callers in the model: what they ask for, what they are told, and what must be true of it."""

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson

from shared.contract import sse
from shared.contract.requests import parse_request
from shared.core import event_log
from shared.core.errors import BadRequest, NotFound, RefusedByUpstream, StoreError, StreamBroken, Unavailable
from shared.core.ids import derived_id
from shared.core.states import Status
from shared.foreground.clients import Client
from shared.lifecycle.waiting import Shown
from tests.model.audit import Audit, holds
from tests.model.processes import Process
from tests.support.stage import ANN, CALLBACK_URL

POLLED, STREAMED, FOREGROUND = "polled", "streamed", "foreground"
KINDS = (POLLED, STREAMED, FOREGROUND)
_MOST = 1_000_000
_TERMINAL = frozenset(map(str, (Status.COMPLETED, Status.FAILED, Status.INCOMPLETE, Status.CANCELLED)))
_EXPECTED = (StoreError, RefusedByUpstream, NotFound, BadRequest, Unavailable, StreamBroken)


@dataclass
class Life:
    """A response as its caller knows it. The idempotency key gives it an id before it exists."""

    number: int
    model: str
    kind: str
    has_callback: bool
    is_known: bool = False  # a caller has read a 2xx with its id
    creating: int = 0  # creates under way
    is_deleted: bool = False  # a caller has asked for that. After its purge, another create would make new work
    told: str = ""  # the terminal status that a caller has seen
    output: bytes = b""
    events: dict[int, tuple[str, str]] = field(default_factory=dict)  # what readers have seen, by number
    webhook_ids: set[str] = field(default_factory=set)
    accepted: int = 0  # callbacks

    @property
    def key(self) -> str:
        """The idempotency key."""
        return f"key-{self.number}"

    @property
    def body(self) -> bytes:
        """The body of the create call."""
        asked: dict[str, Any] = {"model": self.model, "input": "question", "background": self.kind != FOREGROUND}
        if self.kind == STREAMED:
            asked["stream"] = True
        if self.has_callback:
            asked["callback_url"] = CALLBACK_URL
        return orjson.dumps(asked)

    @property
    def id(self) -> str:
        """The id of the response."""
        return derived_id(ANN.name.encode(), self.key.encode(), self.body)


class Callers:
    """The calls that callers make, and what they have been told. `audit` knows what storage has."""

    def __init__(self, audit: Audit) -> None:
        self.lives: dict[str, Life] = {}
        self._audit = audit

    def new(self, model: str, kind: str, *, has_callback: bool) -> Life:
        """Return a response that is not created yet."""
        life = Life(len(self.lives), model, kind, has_callback)
        self.lives[life.id] = life
        return life

    # Calls

    async def create(self, process: Process, life: Life) -> None:
        """Create the response, or repeat that."""
        new, told = parse_request(life.body), life.told
        life.creating += 1
        try:
            if life.kind == STREAMED:
                stream = await process.engine.create_stream(ANN, new, life.key, Client())
                await self._read(process, life, stream, -1, tells_id=True)
            elif life.kind == FOREGROUND:
                call = await process.engine.call(ANN, new, life.key, Client())
                self._note_created(life, await call.end(), told)
            else:
                self._note_created(life, await process.engine.create(ANN, new, life.key), told)
        except _EXPECTED as error:
            holds(not isinstance(error, RefusedByUpstream) or not life.is_known, "a known id is kept", life)
        finally:
            life.creating -= 1

    async def retrieve(self, process: Process, life: Life, wait_s: float = 0) -> None:
        """Read the response."""
        told, known = life.told, life.is_known
        try:
            self._note(life, await process.engine.retrieve(ANN, life.id, wait_s), told)
        except NotFound:
            self._check_missing(life, known)
        except _EXPECTED:
            return

    async def resume(self, process: Process, life: Life, after: int) -> None:
        """Read the stream of the response after a number."""
        known = life.is_known
        try:
            stream = await process.engine.stream(ANN, life.id, str(after) if after >= 0 else None, None)
            await self._read(process, life, stream, after)
        except NotFound:
            self._check_missing(life, known)
        except _EXPECTED:
            return

    async def cancel(self, process: Process, life: Life) -> None:
        """Cancel the response."""
        told, known = life.told, life.is_known
        try:
            self._note(life, await process.engine.cancel(ANN, life.id), told)
        except NotFound:
            self._check_missing(life, known)
        except _EXPECTED:
            return

    async def delete(self, process: Process, life: Life) -> None:
        """Delete the response, if it has ended."""
        before, life.is_deleted = life.is_deleted, True  # from now on it may be gone
        try:
            await process.engine.delete(ANN, life.id)
        except BadRequest:
            life.is_deleted = before
        except _EXPECTED:
            return

    async def redeliver(self, process: Process, life: Life) -> None:
        """Begin the delivery again."""
        try:
            await process.engine.redeliver(ANN, life.id, None)
        except _EXPECTED:
            return

    def take_event(self, response_id: str, headers: Any, event: dict[str, Any], accepted: bool) -> None:
        """Take what the receiver of callbacks got."""
        life = self.lives[response_id]
        self._end(life, str(event["type"]).removeprefix("response."))
        life.webhook_ids.add(headers["webhook-id"])
        life.accepted += accepted
        holds(len(life.webhook_ids) == 1, "every attempt has one id", life)

    # What callers are told

    def _note_created(self, life: Life, shown: Shown | None, told: str) -> None:
        """Take the answer to a create, which tells the caller the id. A caller that asks before only guesses it."""
        life.is_known = life.is_known or shown is not None
        self._note(life, shown, told)

    def _note(self, life: Life, shown: Shown | None, told: str) -> None:
        """Take an answer. `told` is the end that any caller knew before it was asked for."""
        if shown is None:
            return
        record, body = shown
        there = orjson.loads(body)
        holds((record.id, there["id"]) == (life.id, life.id), "an answer is about its response", (life, there))
        if there["status"] in _TERMINAL:
            self._end(life, there["status"])
            output = orjson.dumps([there["output"], there["error"]])
            holds(life.output in (b"", output), "the output of an ended response stays", (life, there))
            life.output = output
        else:
            holds(not told, "an ended response stays ended", (life, there))

    def _end(self, life: Life, status: str) -> None:
        holds(life.told in ("", status), "readers see one terminal status", (life, status))
        in_storage = self._audit.ended.get(life.id)
        holds(in_storage == status, "readers see the stored end, and not before it is stored", (life, in_storage))
        life.told = status

    def _check_missing(self, life: Life, known: bool) -> None:
        """Check a 404. `known`: a caller had the id before it was asked for."""
        record = self._audit.seen(life.id).record
        is_gone = life.is_deleted or not known or (record is None and life.id in self._audit.ended)
        holds(is_gone, "accepted means kept", life)

    # Streams

    async def _read(self, process: Process, life: Life, stream: Any, after: int, *, tells_id: bool = False) -> None:
        """Read a stream to its end. A reader whose process dies just stops."""
        last, seen, status = after, set[int](), ""
        async with aclosing(stream):
            async for message in sse.messages(stream, _MOST):
                event = orjson.loads(message.data)
                number = event["sequence_number"]
                life.is_known = life.is_known or tells_id
                holds(number > last, "numbers grow", (life, number, last))
                self._take(life, number, event)
                last, status = number, str(event["type"]).removeprefix("response.")
                seen.add(number)
        if process.is_dead:
            return
        holds(status in _TERMINAL or not seen, "a stream has an end", (life, last, status))
        missed = {one for one in self._audit.log(life.id) if one > after and one not in seen}
        holds(missed <= self._void(life, after, seen), "a reader misses nothing", (life, after, sorted(missed)))

    def _void(self, life: Life, after: int, seen: set[int]) -> set[int]:
        """Return the numbers that a restart has voided, if this reader began after it, and at the beginning."""
        record = self._audit.seen(life.id).record
        void = set(range(1, record.log.valid_from if record else 0))
        return set() if after >= 0 or seen & void else void

    def _take(self, life: Life, number: int, event: dict[str, Any]) -> None:
        kind = str(event["type"])
        what = (kind, str(event.get("delta", "")))
        holds(life.events.setdefault(number, what) == what, "a number is never contradicted", (life, number, what))
        status = kind.removeprefix("response.")
        if status in _TERMINAL:
            self._end(life, event["response"]["status"])

    def check_logs(self) -> None:
        """Check that storage has what readers have seen, where it is still there."""
        for life in self.lives.values():
            for number, event in self._audit.log(life.id).items():
                there = life.events.get(number, (event.kind, _delta(event)))
                holds(there == (event.kind, _delta(event)), "the log is what readers saw", (life, number, event))


def _delta(event: event_log.Event) -> str:
    return str(orjson.loads(event.body).get("delta", ""))
