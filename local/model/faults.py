"""Faults on demand: what the simulated model does wrong, set at the start or while it runs."""

import random
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from local.model.errors import ApiError, ConnectionCutError

Seconds = Annotated[float, Field(ge=0)]


class RateLimit(BaseModel):
    """The next `n` calls are answered 429 with this Retry-After."""

    model_config = ConfigDict(extra="forbid")
    n: int
    retry_after: Seconds = 1


class Refusal(BaseModel):
    """How creates are refused."""

    model_config = ConfigDict(extra="forbid")
    status: int = 400
    message: str = "The simulated model refuses this request."


class Switches(BaseModel):
    """The faults in force; all off by default."""

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


class Faults:
    """The switches, and what they do to the next call."""

    def __init__(self, initial: Switches, seed: int) -> None:
        self._initial = initial
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Return to the switches and the random numbers of the start."""
        self.switches = self._initial.model_copy(deep=True)
        self._random = random.Random(self._seed)

    def change(self, raw: bytes) -> None:
        """Set the switches that a JSON object names and leave the others; 400 if one is unknown or wrong."""
        try:
            self.switches = Switches.model_validate(self.switches.model_dump() | orjson.loads(raw))
        except (TypeError, ValueError) as error:
            raise ApiError(400, str(error)) from None

    def strike(self) -> None:
        """Let the next call pass, or raise what happens to it."""
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
        """Raise if creates are refused."""
        if (refusal := self.switches.refuse_creates) is not None:
            raise ApiError(refusal.status, refusal.message)

    def lose_answer(self) -> None:
        """Raise if the answer of this create is to be lost."""
        if self.switches.lose_answers > 0:
            self.switches.lose_answers -= 1
            raise ConnectionCutError
