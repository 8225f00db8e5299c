"""What each caller may use: requests a minute, answers that are open at once, and responses that have not ended.

The first two are counted by each process for itself. So a deployment of many instances allows a caller as much in each
of them. Responses are counted over all processes, at most once a second.
https://developers.openai.com/api/docs/guides/rate-limits
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from shared.contract.callers import Caller
from shared.core.errors import ServiceError
from shared.runtime.single_flight import SingleFlight

_MINUTE_S = 60.0
PLACES = 8  # more accept hardly more a second, and each delays the others by its steps
PLACE_S = 2.0
OPEN_RETRY_S = 5  # it is not known when an open answer ends


class TooManyRequests(ServiceError):
    """A caller has used up one of its limits. `headers` are those of the answer, beside Retry-After."""

    status = 429
    type = "rate_limit_error"

    def __init__(
        self, message: str, retry_after_s: int = OPEN_RETRY_S, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, code="rate_limit_exceeded", retry_after_s=retry_after_s)
        self.headers = dict(headers or {})


@dataclass
class _Bucket:
    """The requests that a caller may still make at a time. One comes back every 60 s / limit."""

    left: float
    at_s: float


class Quotas:
    """What the callers of one process have used."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """Take a monotonic clock, in seconds."""
        self._now_s = now_s
        self._buckets: dict[str, _Bucket] = {}
        self._open = Counter[str]()

    def take_request(self, caller: Caller) -> dict[str, str]:
        """Count a request, and return the headers that tell what is left, none for a caller without this limit.

        Raises TooManyRequests.
        """
        limit = caller.limits.requests_per_minute
        if limit is None:
            return {}
        now_s = self._now_s()
        bucket = self._buckets.setdefault(caller.name, _Bucket(float(limit), now_s))
        bucket.left = min(float(limit), bucket.left + (now_s - bucket.at_s) * limit / _MINUTE_S)
        bucket.at_s = now_s
        if bucket.left < 1:
            wait_s = math.ceil((1 - bucket.left) * _MINUTE_S / limit)
            message = f"Rate limit reached: {limit} requests a minute. Try again in {wait_s} s."
            raise TooManyRequests(message, wait_s, _headers(limit, bucket.left))
        bucket.left -= 1
        return _headers(limit, bucket.left)

    def open_answer(self, caller: Caller) -> Callable[[], None]:
        """Count a stream, or a call that waits, and return what ends it. That may be called more than once.

        Raises TooManyRequests.
        """
        limit, name = caller.limits.max_streams, caller.name
        if limit is not None and self._open[name] >= limit:
            message = f"This caller has {limit} streams and waiting calls open here, and may not have more."
            raise TooManyRequests(message)
        self._open[name] += 1
        is_open = [True]

        def end() -> None:
            if is_open:
                is_open.clear()
                self._open[name] -= 1

        return end


@dataclass
class _Counted:
    """How many responses of a caller have not ended: as counted, and those that this process has let in since."""

    count: int


class InFlight:
    """How many responses of each caller have not ended, as counted within the last second.

    Other processes let responses in meanwhile. So a limit may be exceeded by what comes in within a second.
    """

    def __init__(self) -> None:
        self._counts: SingleFlight[_Counted] = SingleFlight()

    async def take(self, name: str, limit: int, count: Callable[[], Awaitable[int]]) -> Callable[[], None]:
        """Count one more for a caller, and return what takes that back. `count` reads how many there are.

        Raises TooManyRequests.
        """

        async def counted() -> _Counted:
            return _Counted(await count())

        known = await self._counts.call(name, counted, accepts_past=True)
        if known.count >= limit:
            message = f"This caller has {limit} responses that have not ended, and may not have more."
            raise TooManyRequests(message)
        known.count += 1

        def give_back() -> None:
            known.count -= 1

        return give_back


class _Place:
    """A place at the entrance, until it is left for the first time, or for 2 s: some requests wait for others."""

    def __init__(self, hand_on: Callable[[], None]) -> None:
        self._hand_on = hand_on
        self._until = asyncio.get_running_loop().call_later(PLACE_S, self.leave)
        self._is_held = True

    def leave(self) -> None:
        """Give the place to the next one."""
        if self._is_held:
            self._is_held = False
            self._until.cancel()
            self._hand_on()


_place: ContextVar[_Place | None] = ContextVar("_place", default=None)


class Entrance:
    """Lets a process accept so many new responses at once, and lets the callers that wait for this take turns.

    Without it, each request of a flood would delay every other by a little at each of its steps.
    """

    def __init__(self, places: int = PLACES) -> None:
        self._free = places
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}  # by caller, in turn. No line is empty

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a place, and hold it for the block, or until `leave` is called in it."""
        place = await self._take(caller)
        token = _place.set(place)
        try:
            yield
        finally:
            _place.reset(token)
            place.leave()

    @staticmethod
    def leave() -> None:
        """Leave the place that this task holds, if it holds one: the response is accepted, or is not."""
        if place := _place.get():
            place.leave()

    async def _take(self, caller: str) -> _Place:
        if self._free:
            self._free -= 1
            return _Place(self._hand_on)
        turn, is_mine = asyncio.get_running_loop().create_future(), False
        self._lines.setdefault(caller, deque()).append(turn)
        try:
            await turn
            is_mine = True
        finally:
            if not is_mine:
                self._give_up(caller, turn)
        return _Place(self._hand_on)

    def _give_up(self, caller: str, turn: "asyncio.Future[None]") -> None:
        """Leave the line, or hand on the place that came in this moment."""
        if turn.done() and not turn.cancelled():
            self._hand_on()
        elif turn in (line := self._lines.get(caller, deque())):
            line.remove(turn)
            if not line:
                del self._lines[caller]

    def _hand_on(self) -> None:
        while self._lines:
            caller = next(iter(self._lines))
            line = self._lines.pop(caller)
            turn = line.popleft()
            if line:
                self._lines[caller] = line  # the other callers come first now
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _headers(limit: int, left: float) -> dict[str, str]:
    """Return OpenAI's headers: the limit, how many requests are left, and when all of them are back."""
    reset_s = (limit - left) * _MINUTE_S / limit
    return {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(max(0, int(left))),
        "x-ratelimit-reset-requests": f"{reset_s:.3f}s",
    }
