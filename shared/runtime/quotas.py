"""What each caller may use: requests a minute, answers that are open at once, and responses that have not ended.

The first two are counted by each process for itself. So a deployment of many instances allows a caller as much in each
of them. Responses are counted over all processes, at most once a second.
https://developers.openai.com/api/docs/guides/rate-limits
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

from shared.contract.callers import Caller
from shared.core.errors import ServiceError
from shared.runtime.single_flight import SingleFlight

_MINUTE_S = 60.0
PLACES = 8  # with more at once a process accepts no faster, and each create is slower
PLACE_S = 2.0
AROUND_S = 1.0  # how long after a create its caller counts as one that may come again
GIVE_WAY_S = 0.05
RESTS = 2.0  # after a create of a waiting caller, its place stays empty for this many times as long as it was used
LINGERS_S = 0.02  # how long such a create keeps its place after it was accepted. A slow upstream is not waited for
OPEN_RETRY_S = 5  # it is not known when an open answer ends


class TooManyRequests(ServiceError):
    """A caller has used up one of its limits."""

    status = 429
    type = "rate_limit_error"

    def __init__(self, message: str, retry_after_s: int = OPEN_RETRY_S) -> None:
        super().__init__(message, code="rate_limit_exceeded", retry_after_s=retry_after_s)


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

    def take_request(self, caller: Caller) -> None:
        """Count a request. Raises TooManyRequests."""
        limit = caller.limits.requests_per_minute
        if limit is None:
            return
        bucket = self._bucket(caller.name, limit)
        if bucket.left < 1:
            wait_s = math.ceil((1 - bucket.left) * _MINUTE_S / limit)
            message = f"Rate limit reached: {limit} requests a minute. Try again in {wait_s} s."
            raise TooManyRequests(message, wait_s)
        bucket.left -= 1

    def left(self, caller: Caller) -> dict[str, str]:
        """Return OpenAI's headers that tell how many requests are left. A caller without this limit has none."""
        limit = caller.limits.requests_per_minute
        if limit is None:
            return {}
        left = self._bucket(caller.name, limit).left
        return {
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-remaining-requests": str(int(left)),
            "x-ratelimit-reset-requests": f"{(limit - left) * _MINUTE_S / limit:.3f}s",
        }

    def _bucket(self, name: str, limit: int) -> _Bucket:
        """Return the bucket of a caller as it is now."""
        now_s = self._now_s()
        bucket = self._buckets.setdefault(name, _Bucket(float(limit), now_s))
        bucket.left = min(float(limit), bucket.left + (now_s - bucket.at_s) * limit / _MINUTE_S)
        bucket.at_s = now_s
        return bucket

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


class InFlight:
    """How many responses of each caller have not ended, as counted within the last second.

    Other processes let responses in meanwhile. So a limit may be exceeded by what comes in within a second.
    """

    def __init__(self) -> None:
        self._counts: SingleFlight[Counter[str]] = SingleFlight()  # with those that this process has let in since

    async def take(self, name: str, limit: int, count: Callable[[], Awaitable[int]]) -> Callable[[], None]:
        """Count one more for a caller, and return what takes that back. `count` reads how many there are.

        Raises TooManyRequests.
        """

        async def counted() -> Counter[str]:
            return Counter({name: await count()})

        known = await self._counts.call(name, counted, accepts_past=True)
        if known[name] >= limit:
            message = f"This caller has {limit} responses that have not ended, and may not have more."
            raise TooManyRequests(message)
        known[name] += 1
        return partial(known.subtract, {name: 1})


class _Place:
    """A place at the entrance, until it ends, or for 2 s: some requests wait for others."""

    def __init__(self, hand_on: Callable[[], None], lingers_s: float) -> None:
        """Take what is called at the end, and for how long it is held after it has been left: 0 if not of a crowd."""
        loop = asyncio.get_running_loop()
        self._hand_on = hand_on
        self._lingers_s = lingers_s
        self._since_s = loop.time()
        self._until = loop.call_later(PLACE_S, self.end)
        self._is_left = self._has_ended = False

    def leave(self) -> None:
        """Give the place to the next one: the response is accepted, or is not."""
        if not self._is_left:
            self._is_left = True
            self._end_in(self._lingers_s)

    def rest(self, times: float) -> None:
        """Give the place to the next one after it has rested for so many times as long as it was needed."""
        self._end_in(times * (asyncio.get_running_loop().time() - self._since_s))

    def _end_in(self, wait_s: float) -> None:
        self._until.cancel()
        if wait_s and self._lingers_s:
            self._until = asyncio.get_running_loop().call_later(wait_s, self.end)
        else:
            self.end()

    def end(self) -> None:
        """Give the place to the next one."""
        if not self._has_ended:
            self._has_ended = True
            self._until.cancel()
            self._hand_on()


_place: ContextVar[_Place | None] = ContextVar("_place", default=None)


class Entrance:
    """Lets a process accept so many new responses at once. Callers whose requests wait for this take turns.

    Each response that is being accepted delays every other one by a little at each of its steps. So a crowd gives way:
    a caller whose requests wait has one place at a time while others come and go, and holds it until its response has
    been started, which is for 20 ms at most. The place then rests for twice as long, so most of the process is left
    for everything else. While a create of another one is under way, it gets none, for 50 ms at
    most. One place is always left for somebody else.
    """

    def __init__(
        self,
        places: int = PLACES,
        *,
        around_s: float = AROUND_S,
        give_way_s: float = GIVE_WAY_S,
        lingers_s: float = LINGERS_S,
        rests: float = RESTS,
    ) -> None:
        self._places = places
        self._around_s, self._give_way_s, self._lingers_s, self._rests = around_s, give_way_s, lingers_s, rests
        self._most = max(1, places - 1)  # of one caller
        self._held = Counter[str]()  # by caller
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}  # by caller, in turn. No line is empty
        self._came_s: dict[str, float] = {}  # when a caller was last let in at once
        self._passing: dict[_Passing, None] = {}
        self._opened_s = -math.inf  # when one that waited was last let in

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a place, and hold it for the block, or until `leave` is called in it."""
        passing = await self._take(caller)
        lingers_s = self._lingers_s if passing is None and self._has_company(caller) else 0.0
        place = _Place(partial(self._give_back, caller), lingers_s)
        token = _place.set(place)
        try:
            yield
        finally:
            _place.reset(token)
            place.rest(self._rests)
            if passing:
                self._has_passed(passing)

    @staticmethod
    def leave() -> None:
        """Leave the place that this task holds, if it holds one: the response is accepted, or is not."""
        if place := _place.get():
            place.leave()

    async def _take(self, caller: str) -> "_Passing | None":
        """Take a place. If none has to be waited for, others give way to the create that is returned."""
        if caller not in self._lines and self._has_place(caller, self._most):
            self._held[caller] += 1
            return self._pass(caller)
        turn, is_mine = asyncio.get_running_loop().create_future(), False
        self._lines.setdefault(caller, deque()).append(turn)
        try:
            await turn
            is_mine = True
        finally:
            if not is_mine:
                self._give_up(caller, turn)
        return None

    def _pass(self, caller: str) -> "_Passing":
        loop = asyncio.get_running_loop()
        self._came_s[caller] = loop.time()
        passing = _Passing(caller)
        self._passing[passing] = None
        passing.until = loop.call_later(self._give_way_s, self._has_passed, passing)
        return passing

    def _has_passed(self, passing: "_Passing") -> None:
        """Let the others go on: a create has been answered, or has been under way for long."""
        if passing.until:
            passing.until.cancel()
        if passing in self._passing:
            del self._passing[passing]
            self._let_in()

    def _give_up(self, caller: str, turn: "asyncio.Future[None]") -> None:
        """Leave the line, or hand on the place that came in this moment."""
        if turn.done() and not turn.cancelled():
            self._give_back(caller)
        elif turn in (line := self._lines.get(caller, deque())):
            line.remove(turn)
            if not line:
                del self._lines[caller]

    def _give_back(self, caller: str) -> None:
        self._held[caller] -= 1
        self._let_in()

    def _let_in(self) -> None:
        """Give the places to those that wait and may have them."""
        now_s = asyncio.get_running_loop().time()
        while caller := next((one for one in self._lines if self._may_enter(one, now_s)), None):
            line = self._lines.pop(caller)
            turn = line.popleft()
            if line:
                self._lines[caller] = line  # the other callers come first now
            if not turn.done():
                self._held[caller] += 1
                self._opened_s = now_s
                turn.set_result(None)

    def _may_enter(self, caller: str, now_s: float) -> bool:
        gives_way = any(one.caller != caller for one in self._passing) and now_s < self._opened_s + self._give_way_s
        return not gives_way and self._has_place(caller, 1 if self._has_company(caller) else self._most)

    def _has_company(self, caller: str) -> bool:
        since_s = asyncio.get_running_loop().time() - self._around_s
        return any(came_s > since_s for one, came_s in self._came_s.items() if one != caller)

    def _has_place(self, caller: str, most: int) -> bool:
        return self._held[caller] < most and self._held.total() < self._places


@dataclass(eq=False, slots=True)
class _Passing:
    """A create that did not wait. Others give way to it until it is answered, or for 50 ms."""

    caller: str
    until: asyncio.TimerHandle | None = None
