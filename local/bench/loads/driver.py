"""The caller in a run. It submits, waits for the callbacks, and collects what the parts observed."""

import asyncio
import time
from types import TracebackType
from typing import Any, Self

import httpx

from local.bench.meters.figures import Callback, Submission
from local.stack.process import PartError
from local.stack.stack import START_DEADLINE_S, Stack

CALL_DEADLINE_S = 30.0
CALLBACKS_DEADLINE_S = 90.0
LOOK_EVERY_S = 0.5
TEXT = "The table is the truth. A message is only a hint. Losing a hint loses nothing, since the table keeps the truth."


class Driver:
    """A client of the host, the receiver and the model of one stack. Callbacks go to the receiver by default."""

    def __init__(self, stack: Stack, callback_url: str | None = None) -> None:
        self._stack = stack
        self._model_url = stack.parts["model"].url(START_DEADLINE_S).removesuffix("/v1")
        self._receiver_url = stack.receiver_url
        self._create_url = f"{stack.base_url}/responses"
        self._callback_url = callback_url or f"{stack.receiver_url}/callback"
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {stack.credentials.api_key}"},
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            timeout=CALL_DEADLINE_S,
            trust_env=False,
        )
        self.submissions: list[Submission] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def submit(self, model: str) -> None:
        """Send one create call and record its result. A call that fails counts as not accepted."""
        body = {
            "model": model,
            "input": TEXT,
            "background": True,
            "callback_url": self._callback_url,
        }
        sent_s = time.perf_counter()
        try:
            answer = await self._http.post(self._create_url, json=body)
        except httpx.TransportError:
            response_id = None
        else:
            response_id = answer.json()["id"] if answer.is_success else None
        self.submissions.append(Submission(sent_s, time.perf_counter(), response_id))

    async def await_callbacks(self) -> None:
        """Return when every accepted response has had a callback, or when the deadline has passed."""
        end_s = time.monotonic() + CALLBACKS_DEADLINE_S
        while await self._open() and time.monotonic() < end_s:
            self._stack.check()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _open(self) -> set[str]:
        accepted = {one.response_id for one in self.submissions if one.response_id}
        return accepted - {one.response_id for one in await self.callbacks()}

    async def callbacks(self) -> list[Callback]:
        """Return the callbacks with a valid signature, in order of arrival."""
        received = await self._ask("receiver", f"{self._receiver_url}/_received")
        return [Callback(one["response_id"], one["received_at"]) for one in received if one["verified"]]

    async def completions(self) -> dict[str, float]:
        """Return when the model completed each response, in unix seconds, by response id."""
        found: dict[str, float] = await self._ask("model", f"{self._model_url}/_sim/completions")
        return found

    async def stats(self) -> dict[str, Any]:
        """Return the model's counts."""
        found: dict[str, Any] = await self._ask("model", f"{self._model_url}/_sim/stats")
        return found

    async def forget(self) -> None:
        """Reset the counts, here and in the parts."""
        self.submissions.clear()
        await self._http.delete(f"{self._receiver_url}/_received")
        await self._http.post(f"{self._model_url}/_sim/reset")

    async def _ask(self, part: str, url: str) -> Any:
        try:
            answer = await self._http.get(url)
        except httpx.TransportError as error:
            raise PartError(part, str(error) or type(error).__name__) from error
        return answer.json()
