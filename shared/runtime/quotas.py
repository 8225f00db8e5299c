"""What each caller may use: requests a minute, answers that are open at once, and responses that have not ended.

The first two are counted by each process for itself. So a deployment of many instances allows a caller as much in each
of them. Responses are counted over all processes, at most once a second.
https://developers.openai.com/api/docs/guides/rate-limits
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from shared.contract.callers import Caller
from shared.core.errors import ServiceError
from shared.runtime.single_flight import SingleFlight

_MINUTE_S = 60.0
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


def _headers(limit: int, left: float) -> dict[str, str]:
    """Return OpenAI's headers: the limit, how many requests are left, and when all of them are back."""
    reset_s = (limit - left) * _MINUTE_S / limit
    return {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(max(0, int(left))),
        "x-ratelimit-reset-requests": f"{reset_s:.3f}s",
    }
