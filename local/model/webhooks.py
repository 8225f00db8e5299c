"""Webhooks for the end of background work, as OpenAI sends them: a thin, signed event, repeated until a 2xx.

Nothing here advances the work. The clock decides when it ends. The tasks here wait for the end and send the event.
"""

import asyncio
import contextlib
import datetime as dt
import secrets
import time
from collections import Counter

import httpx
import orjson
from standardwebhooks import Webhook

from local.model.faults import Faults
from local.model.work import Work

SENT, REFUSED = "webhooks_sent", "webhooks_refused"
USER_AGENT = "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)"
ATTEMPT_S = 3.0
RETRIES_S = (0.2, 1.0, 5.0, 15.0, 60.0)


class Endpoint:
    """The URL that receives the events, and the secret that signs them."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._webhook = Webhook(secret)
        self._http = httpx.AsyncClient(
            headers={"user-agent": USER_AGENT},
            limits=httpx.Limits(max_connections=None),
            timeout=ATTEMPT_S,
            trust_env=False,
        )

    async def post(self, webhook_id: str, event: str) -> bool:
        """Make one attempt with a new signature. Return whether it is answered with a 2xx in time."""
        now = dt.datetime.now(dt.UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(webhook_id, now, event),
        }
        try:
            async with asyncio.timeout(ATTEMPT_S):
                answer = await self._http.post(self._url, content=event, headers=headers)
        except (httpx.TransportError, TimeoutError):
            return False
        return answer.is_success


class Webhooks:
    """Sends an event when background work ends. Without an endpoint, it sends nothing."""

    def __init__(self, endpoint: Endpoint | None, faults: Faults) -> None:
        self._endpoint = endpoint
        self._faults = faults
        self._telling: set[asyncio.Task[None]] = set()
        self._tried: dict[str, asyncio.Event] = {}
        self._attempts: Counter[str] = Counter()

    def forget_all(self) -> None:
        """Send no more events for work that was started before this call, and reset the counts."""
        for telling in self._telling:
            telling.cancel()
        self._attempts.clear()

    def stats(self) -> dict[str, int]:
        """Return the number of attempts, and the number of those that were not answered with a 2xx."""
        return {name: self._attempts[name] for name in (SENT, REFUSED)}

    def watch(self, work: Work) -> None:
        """Send an event when this work ends, if it runs in the background."""
        if self._endpoint is None or not work.background:
            return
        self._tried[work.id] = asyncio.Event()
        telling = asyncio.create_task(self._tell(self._endpoint, work))
        self._telling.add(telling)
        telling.add_done_callback(lambda done: self._forget(done, work.id))

    def _forget(self, telling: asyncio.Task[None], response_id: str) -> None:
        self._telling.discard(telling)
        self._tried.pop(response_id).set()

    async def precede(self, work: Work) -> None:
        """If events are to be early, wait until the event of ended work has been attempted once."""
        tried = self._tried.get(work.id)
        if tried and self._faults.switches.webhook_early and work.finished(time.monotonic()):
            await tried.wait()

    async def _tell(self, endpoint: Endpoint, work: Work) -> None:
        await _ended(work)
        if work.deleted or self._faults.switches.webhook_lost:
            return
        webhook_id, event = f"wh_{secrets.token_hex(16)}", _event(work)
        times = 2 if self._faults.switches.webhook_twice else 1
        await asyncio.gather(*(self._send(endpoint, work, webhook_id, event) for _ in range(times)))

    async def _send(self, endpoint: Endpoint, work: Work, webhook_id: str, event: str) -> None:
        for pause_s in (0.0, *RETRIES_S):
            await asyncio.sleep(pause_s)
            self._attempts[SENT] += 1
            taken = await endpoint.post(webhook_id, event)
            self._tried[work.id].set()
            if taken:
                return
            self._attempts[REFUSED] += 1


async def _ended(work: Work) -> None:
    """Return when the work has ended or was stopped."""
    while not work.finished(now_s := time.monotonic()):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(work.stopped.wait(), work.left_s(now_s))


def _event(work: Work) -> str:
    event = {
        "id": f"evt_{secrets.token_hex(16)}",
        "object": "event",
        "type": f"response.{work.status(time.monotonic())}",
        "created_at": int(time.time()),
        "data": {"id": work.id},
    }
    return orjson.dumps(event).decode()
