"""The caller in a run. It submits, waits for the callbacks, and collects what the parts observed."""

import asyncio
import time
from collections.abc import Mapping, Set
from types import TracebackType
from typing import Any, Self

import httpx

from local.bench.loads.target import Target
from local.bench.meters.figures import Callback, Submission
from local.stack.process import PartError

CALL_DEADLINE_S = 30.0
CALLBACKS_DEADLINE_S = 90.0
LOOK_EVERY_S = 0.5
REFUSED = 300  # the least status with which a receiver does not accept
TEXT = "The table is the truth. A message is only a hint. Losing a hint loses nothing, since the table keeps the truth."


class Driver:
    """A client of one target, its receiver and its model. Callbacks go to the receiver by default."""

    def __init__(self, target: Target, callback_url: str | None = None) -> None:
        self._target = target
        self._callback_url = callback_url or f"{target.receiver_url}/callback"
        self._http = httpx.AsyncClient(
            headers=target.headers,
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

    async def submit(self, model: str, callback_url: str | None = None) -> str | None:
        """Send one create call and record its result. Return its id. A call that fails counts as not accepted."""
        body = {
            "model": model,
            "input": TEXT,
            "background": True,
            "callback_url": callback_url or self._callback_url,
        }
        sent_s = time.perf_counter()
        try:
            answer = await self._http.post(self._target.create_url, json=body)
        except httpx.TransportError:
            response_id = None
        else:
            response_id = answer.json()[self._target.id_field] if answer.is_success else None
        self.submissions.append(Submission(sent_s, time.perf_counter(), response_id))
        return response_id

    async def await_callbacks(self, deadline_s: float = CALLBACKS_DEADLINE_S) -> None:
        """Return when every accepted response has had a callback, or when the deadline has passed.

        Each accepted id is looked for. A callback for a call whose answer was lost does not stand in for another one.
        """
        end_s = time.monotonic() + deadline_s
        while await self._open() and time.monotonic() < end_s:
            self._target.check()
            await asyncio.sleep(LOOK_EVERY_S)

    async def await_all_started(self, deadline_s: float) -> None:
        """Return when all that the model has begun had a callback, too, or when the deadline has passed.

        It has also begun work for calls whose answer was lost.
        """
        end_s = time.monotonic() + deadline_s
        while await self._open(set(await self._starts())) and time.monotonic() < end_s:
            self._target.check()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _open(self, others: Set[str] = frozenset()) -> set[str]:
        accepted = {one.response_id for one in self.submissions if one.response_id}
        return (accepted | others) - {one.response_id for one in await self.callbacks()}

    async def _starts(self) -> dict[str, float]:
        found: dict[str, float] = await self._ask("model", f"{self._target.model_url}/_sim/starts")
        return found

    async def callbacks(self) -> list[Callback]:
        """Return the callbacks that the receiver accepted, in order of arrival.

        Those of a target that signs are left out if their signature is bad.
        """
        received = await self._ask("receiver", f"{self._target.receiver_url}/_received")
        return [
            Callback(one["response_id"], one["received_at"], one["type"])
            for one in received
            if one["answered"] < REFUSED and (one["verified"] or not self._target.signs)
        ]

    async def completions(self) -> dict[str, float]:
        """Return when the model completed each response, in unix seconds, by response id."""
        found: dict[str, float] = await self._ask("model", f"{self._target.model_url}/_sim/completions")
        return found

    async def stats(self) -> dict[str, Any]:
        """Return the model's counts."""
        found: dict[str, Any] = await self._ask("model", f"{self._target.model_url}/_sim/stats")
        return found

    async def polls(self) -> dict[str, dict[str, Any]]:
        """Return the ages at which the model was asked for each response, and their ages now, in seconds."""
        found: dict[str, dict[str, Any]] = await self._ask("model", f"{self._target.model_url}/_sim/polls")
        return found

    async def invocations(self) -> Mapping[str, int]:
        """Return the invocations by type of trigger since the host started, or nothing if the target has no host."""
        if self._target.invocations_url is None:
            return {}
        found: dict[str, int] = await self._ask("host", self._target.invocations_url)
        return found

    async def slow_receiver(self, delay_s: float) -> None:
        """Let the receiver take this long to answer each callback."""
        await self.receiver_faults(delay_s=delay_s)

    async def receiver_faults(self, **switches: object) -> None:
        """Set fault switches of the receiver. They stay until they are set again."""
        await self._tell("receiver", f"{self._target.receiver_url}/_faults", switches)

    async def model_faults(self, switches: Mapping[str, object]) -> None:
        """Set fault switches of the model. `forget` resets them."""
        await self._tell("model", f"{self._target.model_url}/_sim/faults", switches)

    async def forget(self) -> None:
        """Reset the counts, here and in the parts."""
        self.submissions.clear()
        await self._http.delete(f"{self._target.receiver_url}/_received")
        await self._http.post(f"{self._target.model_url}/_sim/reset")

    async def _tell(self, part: str, url: str, switches: Mapping[str, object]) -> None:
        answer = await self._http.post(url, json=dict(switches))
        if not answer.is_success:
            raise PartError(part, f"it refused {dict(switches)}: {answer.text}")

    async def _ask(self, part: str, url: str) -> Any:
        try:
            answer = await self._http.get(url)
        except httpx.TransportError as error:
            raise PartError(part, str(error) or type(error).__name__) from error
        return answer.json()
