"""Clients of all hosts, which repeat a call at the next host until it is answered."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import httpx

from local.chaos.load.ledger import Ledger

ANSWERED_S = 240.0  # how long a caller goes on with one call
CALL_S = 45.0
STREAM_SILENCE_S = 20.0  # a stream has a heartbeat every 5 s
PAUSE_S = 0.4
BUSY = frozenset({429, 503})


class NotAnswered(Exception):
    """No host has answered a call for so long that the caller gave it up."""


class Clients:
    """The connections of the callers to every host, through the relays."""

    def __init__(self, ports: Sequence[int], keys: Mapping[str, str], ledger: Ledger) -> None:
        self.ledger = ledger
        self._clients = {name: [_client(port, key) for port in ports] for name, key in keys.items()}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for clients in self._clients.values():
            for client in clients:
                await client.aclose()

    def at(self, host: int, who: str = "first") -> httpx.AsyncClient:
        """Return the client of one host."""
        clients = self._clients[who]
        return clients[host % len(clients)]

    async def ask(
        self,
        method: str,
        path: str,
        *,
        host: int = 0,
        who: str = "first",
        body: object = None,
        key: str | None = None,
    ) -> httpx.Response:
        """Return the answer to a call. After a broken connection, a 429 or a 503 it is repeated at the next host.

        Raise NotAnswered if that goes on for too long.
        """
        end = time.monotonic() + ANSWERED_S
        headers = {"Idempotency-Key": key} if key else {}
        while time.monotonic() < end:
            answer = await self._once(self.at(host, who), method, path, body, headers)
            if answer is not None:
                return answer
            host += 1
            await asyncio.sleep(PAUSE_S)
        raise NotAnswered(f"{method} {path}")

    async def _once(
        self, client: httpx.AsyncClient, method: str, path: str, body: object, headers: Mapping[str, str]
    ) -> httpx.Response | None:
        try:
            answer = await client.request(method, path, json=body, headers=headers)
        except httpx.TransportError:
            self.ledger.answers["broken connection"] += 1
            return None
        return answer if self.judge(answer) else None

    def judge(self, answer: httpx.Response) -> bool:
        """Count an answer, and return whether it is one. A host that has not loaded the app yet gives none."""
        if answer.status_code == 404 and answer.headers.get("content-length") == "0":
            self.ledger.answers["host not loaded"] += 1
            return False
        self.ledger.answers[str(answer.status_code)] += 1
        is_known = answer.status_code < 500 or answer.status_code == 503
        self.ledger.check("no 5xx but 503", is_known, f"{answer.request.method} {answer.request.url.path}: {answer}")
        return answer.status_code not in BUSY and is_known


def _client(port: int, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}/openai/v1",
        headers={"Authorization": f"Bearer {key}"},
        timeout=httpx.Timeout(CALL_S, connect=5.0),
        limits=httpx.Limits(max_connections=200, keepalive_expiry=5.0),
        trust_env=False,
    )
