"""Faults of the simulated model, set at the start or while it runs."""

import random
from collections import Counter
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from local.model.errors import ApiError, ConnectionCutError

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Interval = Annotated[float, Field(ge=0.001)]


class RateLimit(BaseModel):
    """The next `n` calls are answered with 429 and this Retry-After, in seconds."""

    model_config = ConfigDict(extra="forbid")
    n: int
    retry_after: Seconds = 1


class Refusal(BaseModel):
    """The status and message that refused create calls get."""

    model_config = ConfigDict(extra="forbid")
    status: int = 400
    message: str = "The simulated model refuses this request."


class Switches(BaseModel):
    """The faults in force. All are off by default."""

    model_config = ConfigDict(extra="forbid")
    error_rate: Annotated[float, Field(ge=0, le=1)] = 0
    error_status: int = 500
    latency_s: Seconds = 0
    create_latency_s: Seconds = 0
    rate_limit: RateLimit = RateLimit(n=0)
    outage: Literal[False, True, "drop", "503"] = False
    missing_s: Seconds = 0
    null_while_queued: bool = False
    retry_after_s: Seconds | None = None
    refuse_creates: Refusal | None = None
    lose_answers: int = 0
    ignore_idempotency: bool = False
    ignore_stream: bool = False
    no_background: bool = False
    forget_unfinished: bool = False
    keepalive_s: Interval | None = None
    replay_window_s: Seconds | None = None
    # A connection is cut, or stays open and falls silent, after this number of its events. A response is cut
    # `stream_drops` times, before the next frame or inside it. It falls silent once.
    stream_drop_after: Count | None = None
    stream_drops: Count = 1
    stream_cut_inside: bool = False
    stream_stall_after: Count | None = None
    # The event with this number is broken JSON on the first `stream_malformed_times` connections of a response.
    stream_malformed_at: Count | None = None
    stream_malformed_times: Count = 1
    # The webhook for the end of a response: sent before the create answer if the response ends at once, never sent, or
    # sent twice at the same time.
    webhook_early: bool = False
    webhook_lost: bool = False
    webhook_twice: bool = False


class Faults:
    """The switches, and their effect on the next call."""

    def __init__(self, initial: Switches, seed: int) -> None:
        self._initial = initial
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Restore the initial switches and the initial random numbers."""
        self.switches = self._initial.model_copy(deep=True)
        self._random = random.Random(self._seed)
        self._met: Counter[tuple[str, str]] = Counter()

    def change(self, raw: bytes) -> None:
        """Set the switches that a JSON object names and keep the others. Raise a 400 if one is unknown or invalid."""
        try:
            self.switches = Switches.model_validate(self.switches.model_dump() | orjson.loads(raw))
        except (TypeError, ValueError) as error:
            raise ApiError(400, str(error)) from None

    def strike(self) -> None:
        """Raise the fault that the next call gets, or return if it gets none."""
        match self.switches.outage:
            case "drop" | True:
                raise ConnectionCutError
            case "503":
                raise ApiError(503, "The simulated model is out of service.")
        if self.switches.rate_limit.n > 0:
            self.switches.rate_limit.n -= 1
            retry_after_s = self.switches.rate_limit.retry_after
            raise ApiError(429, "Rate limit reached.", code="rate_limit_exceeded", retry_after_s=retry_after_s)
        if self._random.random() < self.switches.error_rate:
            raise ApiError(self.switches.error_status, "The simulated model had an error.")

    def refuse_create(self) -> None:
        """Raise if create calls are refused."""
        if (refusal := self.switches.refuse_creates) is not None:
            raise ApiError(refusal.status, refusal.message)

    def lose_answer(self) -> None:
        """Raise if the answer to this create call is to be lost."""
        if self.switches.lose_answers > 0:
            self.switches.lose_answers -= 1
            raise ConnectionCutError

    def adapt_create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a create body as this server reads it. Raise a 400 if it uses a feature that the server lacks."""
        if self.switches.no_background and body.get("background"):
            message = "Unsupported parameter: 'background' is not supported by this server."
            raise ApiError(400, message, param="background", code="unsupported_parameter")
        return body | {"stream": False} if self.switches.ignore_stream else body

    def drops(self, response_id: str, sent: int) -> bool:
        """Return whether to cut a stream of that response now, after `sent` events on its connection."""
        due = sent == self.switches.stream_drop_after
        return due and self._meets("drop", response_id, self.switches.stream_drops)

    def stalls(self, response_id: str, sent: int) -> bool:
        """Return whether a stream of that response falls silent now, after `sent` events on its connection."""
        return sent == self.switches.stream_stall_after and self._meets("stall", response_id, 1)

    @property
    def stalled(self) -> int:
        """How many streams have fallen silent."""
        return sum(count for (fault, _), count in self._met.items() if fault == "stall")

    def malforms(self, response_id: str, number: int) -> bool:
        """Return whether to send the event with that number as broken JSON."""
        due = number == self.switches.stream_malformed_at
        return due and self._meets("malform", response_id, self.switches.stream_malformed_times)

    def _meets(self, fault: str, response_id: str, times: int) -> bool:
        """Return whether the response has had the fault fewer than `times` times. If so, count one more."""
        met = self._met[fault, response_id]
        self._met[fault, response_id] += met < times
        return met < times
