"""One streamed response whose connections are cut and whose host is killed, as its client sees it."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import orjson

from local.demo.caller import CALL_DEADLINE_S, Response
from local.demo.demo import INSTRUCTIONS, NEXT, RESULT_DEADLINE_S, TICK_S
from local.demo.opening import PARTS, opened_stack
from local.demo.screen import Screen
from local.demo.transcript import Disorder, Transcript
from local.responses import output_text
from local.stack.process import PartError
from local.stack.stack import Stack
from shared.contract import sse
from shared.core.alarms import LEASE_MS, Kind

DELTAS = 12  # text deltas that are read on a connection before it is interrupted
SILENCE_S = 2.0  # silence after which the client shows that it waits
FILE_TICK_S = 5.0
MAX_EVENT = 16 * 2**20


def stream_demo(text: str, model: str) -> None:
    """Stream one response on its own stack, through two cuts and a crash. Raise PartError if a part fails."""
    screen = Screen(sys.stdout)
    screen.notice(f"starting {PARTS}")
    with opened_stack() as running:
        screen.notice(f"ready at {running.base_url}, state in Azurite from {running.storage.kind}")
        try:
            asyncio.run(_demo(running, text, model, screen))
        except TimeoutError:
            raise PartError("model", f"no end after {RESULT_DEADLINE_S:g} s") from None
    screen.notice("everything is stopped")
    screen.notice(NEXT)


async def _demo(running: Stack, text: str, model: str, screen: Screen) -> None:
    async with (
        asyncio.timeout(RESULT_DEADLINE_S),
        httpx.AsyncClient(
            base_url=running.base_url,
            headers={"Authorization": f"Bearer {running.credentials.api_key}"},
            timeout=CALL_DEADLINE_S,  # longer than any silence of a stream, which has heartbeats
            trust_env=False,
        ) as http,
    ):
        client = _Client(running, http, screen)
        screen.notice(f"streaming what {model} makes of {len(text)} characters")
        screen.blank()
        try:
            await client.follow({"model": model, "input": text, "instructions": INSTRUCTIONS})
        finally:
            screen.blank()
        await client.prove()


class _Client:
    """Reads one stream over as many connections as it needs."""

    def __init__(self, running: Stack, http: httpx.AsyncClient, screen: Screen) -> None:
        self._running = running
        self._http = http
        self._screen = screen
        self._transcript = Transcript()
        self._last_event_s = time.monotonic()
        self._awaited = "the model"
        self._connections = 0

    async def follow(self, request: dict[str, Any]) -> None:
        """Read from the first event to the last, with three interruptions on the way."""
        waiting = asyncio.create_task(self._show_silence())
        try:
            await self._read("POST", "/responses", json={**request, "background": True, "stream": True})
            await self._interrupt(f"cut the connection after event {self._transcript.last}")
            await self._resume()
            await self._interrupt(f"cut it again after event {self._transcript.last}")
            await self._resume()
            await self._kill_host()
            while not self._transcript.has_ended:
                await self._resume(most=None)
        finally:
            waiting.cancel()

    async def prove(self) -> None:
        """Compare the streamed text with the stored text. Raise PartError if they differ."""
        transcript, kept = self._transcript, output_text(await self._completed())
        if transcript.text != kept:
            raise PartError(
                "host", f"the {len(transcript.text)} characters streamed are not the {len(kept)} that are stored"
            )
        self._screen.notice(f"completed: {transcript.events} events over {self._connections} connections")
        self._screen.notice(f"their numbers only grew, from 0 to {transcript.last}")
        self._screen.notice(f"the text streamed equals the stored result, {len(kept)} characters")

    async def _completed(self) -> Response:
        async with self._answer("GET", f"/responses/{self._transcript.response_id}") as answer:
            stored: Response = orjson.loads(await answer.aread())
        if stored["status"] != "completed":
            raise PartError("model", f"the response is {stored['status']}: {stored['error']}")
        return stored

    async def _interrupt(self, what: str) -> None:
        if self._transcript.has_ended:
            await self._completed()
            raise PartError("model", "the answer ended before all interruptions: a longer one is needed")
        self._screen.notice(what)

    async def _kill_host(self) -> None:
        await self._interrupt(f"killing the host after event {self._transcript.last}")
        began_s = time.monotonic()
        pid = self._running.kill_host()
        self._running.start_host()
        self._screen.notice(f"killed process {pid}, started the host again after {time.monotonic() - began_s:.1f} s")
        self._awaited = f"the lease of the killed host, at most {LEASE_MS[Kind.RUN] // 1000} s"

    async def _resume(self, most: int | None = DELTAS) -> None:
        self._screen.notice(f"resuming after event {self._transcript.last}, by its continuation token")
        await self._read("GET", f"/responses/{self._transcript.token}?stream=true", most=most)

    async def _read(self, method: str, path: str, *, most: int | None = DELTAS, **body: Any) -> None:
        """Read one connection to its end, or until `most` text deltas have arrived."""
        end = self._transcript.deltas + most if most else None
        self._connections += 1
        async with self._stream(method, path, **body) as messages:
            async for message in messages:
                self._take(orjson.loads(message.data))
                if self._transcript.deltas == end:
                    return

    def _take(self, event: dict[str, Any]) -> None:
        transcript = self._transcript
        restarts = transcript.restarts
        try:
            text = transcript.take(event)
        except Disorder as error:
            raise PartError("host", str(error)) from error
        self._note_arrival()
        if transcript.restarts > restarts:
            self._screen.notice("the work was started again, and the text so far is void")
            self._screen.blank()
        self._screen.text(text)

    def _note_arrival(self) -> None:
        last_event_s, self._last_event_s = self._last_event_s, time.monotonic()
        if (silent_s := self._last_event_s - last_event_s) > SILENCE_S:
            self._screen.notice(f"continues after {silent_s:.0f} s")

    @asynccontextmanager
    async def _stream(self, method: str, path: str, **body: Any) -> AsyncIterator[AsyncIterator[sse.Message]]:
        async with (
            self._answer(method, path, **body) as answer,
            aclosing(sse.messages(answer.aiter_bytes(), MAX_EVENT)) as messages,
        ):
            yield messages

    @asynccontextmanager
    async def _answer(self, method: str, path: str, **body: Any) -> AsyncIterator[httpx.Response]:
        """Yield the answer to a call before its body has been read. Raise PartError if the call fails."""
        try:
            async with self._http.stream(method, path, **body) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise PartError("host", f"{method} {path} answered {answer.status_code}: {answer.text}")
                yield answer
        except httpx.TransportError as error:
            self._running.check()
            raise PartError("host", f"{method} {path}: {error}") from error

    async def _show_silence(self) -> None:
        while True:
            await asyncio.sleep(TICK_S if self._screen.is_terminal else FILE_TICK_S)
            if (silent_s := time.monotonic() - self._last_event_s) > SILENCE_S:
                self._screen.passing(f"nothing for {silent_s:.0f} s, waiting for {self._awaited}")
