"""The callers of a run: each call of the plan, and what is checked while it is made."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from local.chaos.load.clients import Clients, NotAnswered
from local.chaos.load.expected import expected_status, expected_text, question
from local.chaos.load.ledger import Json, Ledger, Promise
from local.chaos.load.queue_sender import QueueSender
from local.chaos.load.reader import Reader, contradiction, text_of, trouble
from local.chaos.plan import HOSTS, Call, Style
from local.chaos.world.site import Site
from local.responses import output_text

ENDED_S = 300.0
POLL_S = 0.8
TURNS = 3
OBSERVED_S = 1.0


class Callers:
    """Makes the calls of a plan."""

    def __init__(self, site: Site, clients: Clients, ledger: Ledger) -> None:
        self._site, self._clients, self._ledger = site, clients, ledger
        self._queue = QueueSender(site.connection)
        self._styles: Mapping[Style, Callable[[Call], Awaitable[None]]] = {
            Style.POLLED: self._polled,
            Style.STREAMED: self._streamed,
            Style.FOREGROUND: self._foreground,
            Style.FOREGROUND_STREAM: self._streamed,
            Style.QUEUED: self._queued,
            Style.CANCELLED: self._cancelled,
            Style.DELETED: self._deleted,
            Style.REPEATED: self._repeated,
            Style.CHAINED: self._chained,
            Style.CONVERSATION: self._conversation,
            Style.AGENT: self._agent,
        }

    async def make(self, call: Call, began_s: float) -> None:
        """Make one call at its time. `began_s` is the monotonic time of the start of the load."""
        await asyncio.sleep(max(0.0, began_s + call.at_s - time.monotonic()))
        try:
            await self._styles[call.style](call)
        except NotAnswered as error:
            self._ledger.check("every call is answered", False, f"call {call.number} ({call.style}): {error}")
        else:
            self._ledger.check("every call is answered", True)

    async def observe(self, seed: int) -> None:
        """Read ended responses again, as their caller and as another one, until cancelled."""
        rng = random.Random(f"{seed} observer")
        while True:
            await asyncio.sleep(OBSERVED_S)
            known = sorted(self._ledger.ended.keys() - self._ledger.deleted)
            if known:
                await self._look(rng.choice(known), rng)

    async def _look(self, response_id: str, rng: random.Random) -> None:
        path, host = f"/responses/{response_id}", rng.randrange(HOSTS)
        try:
            if rng.random() < 0.25:
                other = await self._clients.ask("GET", path, host=host, who="second")
                self._ledger.check("callers are isolated", other.status_code == 404, f"{path}: {other.status_code}")
            else:
                await self._read(response_id, host)
        except NotAnswered as error:
            self._ledger.check("every call is answered", False, error)

    # Styles

    async def _polled(self, call: Call) -> None:
        """Poll to the end. Then cancel every other response, which must change nothing."""
        response_id = await self._create(call)
        if await self._until_ended(response_id, call) and call.number % 2:
            await self._cancel_ended(response_id, call)

    async def _foreground(self, call: Call) -> None:
        answer = await self._clients.ask(
            "POST", "/responses", host=call.host, body=self._body(call, background=False), key=_key(call)
        )
        if self._ledger.check("a foreground call is answered with 200", answer.status_code == 200, answer.text[:300]):
            response = answer.json()
            self._note(response, call)
            is_over = self._ledger.saw(response)
            self._ledger.check("a foreground call gets the end", is_over, response["status"])

    async def _repeated(self, call: Call) -> None:
        """Send the same request with the same key to all hosts at once, and again at the end."""
        ids = set(await asyncio.gather(*(self._create(call, host=call.host + n) for n in range(HOSTS))))
        await self._until_ended(min(ids), call)
        ids.add(await self._create(call, host=call.host + 1))
        self._ledger.check("one key is one response", len(ids) == 1, f"call {call.number}: {sorted(ids)}")

    async def _cancelled(self, call: Call) -> None:
        response_id = await self._create(call)
        await asyncio.sleep(call.pause_s)
        answer = await self._clients.ask("POST", f"/responses/{response_id}/cancel", host=call.host + 1)
        if answer.status_code == 200:
            self._ledger.saw(answer.json())
        else:
            self._ledger.check("an ended response cannot be cancelled", answer.status_code == 400, answer.text[:300])
        response = await self._until_ended(response_id, call)
        is_cancelled = bool(response) and response["status"] == "cancelled"
        self._ledger.check("cancel says what happens", is_cancelled == (answer.status_code == 200), answer.text[:300])
        if response:
            await self._cancel_ended(response_id, call)

    async def _cancel_ended(self, response_id: str, call: Call) -> None:
        """Cancel a response that has ended, and read it again. It stays as it is."""
        status = self._ledger.ended[response_id]["status"]
        answer = await self._clients.ask("POST", f"/responses/{response_id}/cancel", host=call.host + 2)
        expected = 200 if status == "cancelled" else 400
        what = f"{response_id} was {status}: {answer.text[:300]}"
        self._ledger.check("an ended response cannot be cancelled", answer.status_code == expected, what)
        await self._read(response_id, call.host)

    async def _deleted(self, call: Call) -> None:
        response_id = await self._create(call)
        if not await self._until_ended(response_id, call):
            return
        self._ledger.deleted.add(response_id)
        answer = await self._clients.ask("DELETE", f"/responses/{response_id}", host=call.host)
        # A repeat after a broken connection finds nothing.
        self._ledger.check("an ended response can be deleted", answer.status_code in (200, 404), answer.text[:300])
        for host in range(HOSTS):
            gone = await self._clients.ask("GET", f"/responses/{response_id}", host=host)
            self._ledger.check("what is deleted is gone", gone.status_code == 404, f"{response_id} {gone.status_code}")

    async def _chained(self, call: Call) -> None:
        previous: str | None = None
        for turn in range(TURNS):
            fields: Json = {"previous_response_id": previous} if previous else {}
            previous = await self._create(call, turn=turn, **fields)
            if not await self._until_ended(previous, call):
                return

    async def _conversation(self, call: Call) -> None:
        """Take turns in a conversation of the upstream, which is the same at every host."""
        made = await self._clients.ask(
            "POST", "/conversations", host=call.host, body={"metadata": {"call": _key(call)}}
        )
        if not self._ledger.check("a conversation is made", made.status_code == 200, made.text[:300]):
            return
        for turn in range(TURNS):
            response_id = await self._create(call, turn=turn, conversation=made.json()["id"])
            if not await self._until_ended(response_id, call):
                return

    async def _agent(self, call: Call) -> None:
        """Let an agent work. Every other caller reads its stream."""
        await (self._streamed(call) if call.number % 2 else self._polled(call))

    async def _queued(self, call: Call) -> None:
        request = {"model": call.model, "input": question(call)}
        await self._queue.send(call, request, twice=call.number % 2 == 0)

    async def _streamed(self, call: Call) -> None:
        body = self._body(call, background=call.style is not Style.FOREGROUND_STREAM, stream=True)
        reader = Reader(self._clients, call.host, call.drops)
        is_over = await reader.read(body, _key(call))
        if not reader.events:
            self._ledger.check("a stream ends", False, f"call {call.number}: no event")
            return
        response_id = next((one["response"]["id"] for one in reader.events if "response" in one), "")
        self._ledger.check("a stream ends", is_over, f"{response_id}: {len(reader.events)} events")
        self._note({"id": response_id}, call)
        if is_over:
            self._check_events(call, response_id, reader)
            await self._replay(call, response_id, reader)
            await self._until_ended(response_id, call)

    def _check_events(self, call: Call, response_id: str, reader: Reader) -> None:
        events = reader.events
        found = trouble(events)
        self._ledger.check("sequence numbers grow without a gap", not found, f"{response_id}: {found}")
        expected = expected_text(call)
        told = text_of(events), output_text(events[-1]["response"])
        what = f"{response_id}: {told!r}, not {expected!r}"
        self._ledger.check("a reader has the right text", expected is None or told == (expected, expected), what)

    async def _replay(self, call: Call, response_id: str, reader: Reader) -> None:
        """Read the stream again from the start, and once from the middle: nothing contradicts what was read."""
        again = Reader(self._clients, call.host + 1)
        if not self._ledger.check("a stream can be read again", await again.follow(response_id), response_id):
            return
        found = trouble(again.events) or contradiction(again.events, reader.events)
        self._ledger.check("a second reader reads the same", not found, f"{response_id}: {found}")
        expected = expected_text(call)
        is_right = expected is None or text_of(again.events) == expected
        self._ledger.check("a second reader has the right text", is_right, f"{response_id}: {text_of(again.events)!r}")
        middle = again.events[len(again.events) // 2]["sequence_number"]
        rest = Reader(self._clients, call.host + 2)
        await rest.follow(response_id, middle)
        numbers = [event["sequence_number"] for event in rest.events]
        wanted = [one["sequence_number"] for one in again.events if one["sequence_number"] > middle]
        self._ledger.check("a resumed reader gets every event above N once", numbers == wanted, (response_id, middle))

    # Parts

    def _body(self, call: Call, turn: int = 0, **fields: Any) -> Json:
        body: Json = {"model": call.model, "input": question(call, turn), "background": True, **fields}
        return {**body, "callback_url": self._site.callback_url(call.receiver)} if call.receiver else body

    async def _create(self, call: Call, *, host: int | None = None, turn: int = 0, **fields: Any) -> str:
        """Start background work and return its id."""
        at = call.host if host is None else host
        body, key = self._body(call, turn, **fields), f"{_key(call)}-{turn}"
        answer = await self._clients.ask("POST", "/responses", host=at, body=body, key=key)
        if not self._ledger.check("a request is accepted", answer.status_code == 200, answer.text[:300]):
            raise NotAnswered(f"POST /responses: {answer.status_code}")
        return self._ledger.accepted(answer.json(), call, expected_status(call), expected_text(call, turn))

    def _note(self, response: Json, call: Call) -> None:
        self._ledger.promises.setdefault(response["id"], Promise(call, expected_status(call), expected_text(call)))

    async def _read(self, response_id: str, host: int) -> Json | None:
        answer = await self._clients.ask("GET", f"/responses/{response_id}", host=host)
        is_deleted = answer.status_code == 404 and response_id in self._ledger.deleted
        if is_deleted or not self._ledger.check(
            "an accepted response is found", answer.status_code == 200, f"{response_id}: {answer.status_code}"
        ):
            return None
        found: Json = answer.json()
        self._ledger.saw(found)
        return found

    async def _until_ended(self, response_id: str, call: Call) -> Json:
        """Poll until the response has ended, and return it. Return an empty object if it has not ended in time."""
        end, host = time.monotonic() + ENDED_S, call.host
        while time.monotonic() < end:
            response = await self._read(response_id, host)
            if response is None or response_id in self._ledger.ended:
                return response or {}
            host += 1
            await asyncio.sleep(POLL_S)
        self._ledger.check("everything is done in time", False, f"{response_id}: not after {ENDED_S:g} s")
        return {}


def _key(call: Call) -> str:
    return f"call-{call.number}"
