"""The calls of the work: start it at the model, ask whether it has ended, and call back. Every peer makes the same."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import aiohttp

POLL_EVERY_S = 0.5
DEADLINE_S = 30.0
FINAL = frozenset({"completed", "failed", "incomplete", "cancelled"})

Job: TypeAlias = dict[str, Any]
"""A create call as it was received: `id`, `model`, `input` and `callback_url`."""


class Calls:
    """The calls over one pool of connections. Each raises aiohttp.ClientError if it fails, or TimeoutError."""

    def __init__(self) -> None:
        self._model_url = os.environ.get("MODEL_URL", "")
        self._http: aiohttp.ClientSession | None = None

    async def start(self, job: Job) -> str:
        """Start the work, with the job's id as the idempotency key. Return the model's id of it."""
        body = {"model": job["model"], "input": job["input"], "background": True}
        url = f"{self._model_url}/v1/responses"
        async with self._session().post(url, json=body, headers={"Idempotency-Key": job["id"]}) as answer:
            answer.raise_for_status()
            return str((await answer.json())["id"])

    async def wait(self, started: str) -> str:
        """Ask every 0.5 s until the work has ended. Return its status."""
        while True:
            await asyncio.sleep(POLL_EVERY_S)
            async with self._session().get(f"{self._model_url}/v1/responses/{started}") as answer:
                answer.raise_for_status()
                status = str((await answer.json())["status"])
            if status in FINAL:
                return status

    async def call_back(self, job: Job, status: str) -> None:
        """Send the end of the work to the caller."""
        event = {"type": f"response.{status}", "data": {"id": job["id"]}}
        async with self._session().post(job["callback_url"], json=event) as answer:
            answer.raise_for_status()

    async def events(self, job: Job) -> AsyncIterator[dict[str, Any]]:
        """Start the work as a stream, and yield each of its events."""
        body = {"model": job["model"], "input": job["input"], "background": True, "stream": True}
        url = f"{self._model_url}/v1/responses"
        async with self._session().post(url, json=body, headers={"Idempotency-Key": job["id"]}) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    def _session(self) -> aiohttp.ClientSession:
        """Return the session, which is made where the loop runs."""
        if self._http is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._http = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(DEADLINE_S))
        return self._http
