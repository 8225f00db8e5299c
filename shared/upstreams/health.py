"""The health of an upstream, as the calls of this process have last seen it.

unknown   no call has shown anything lately
up        the last call was answered, if only with a refusal or a rate limit
down      three calls in a row were not answered, or not as asked, within 60 s, and none was answered since

A create that is refused with 401 or 403 is not answered as asked: nothing of it says that the request is wrong.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from shared.core.backoff import RETRY_AFTER_MAX_MS
from shared.core.errors import UpstreamError, UpstreamFailed, UpstreamMissing, UpstreamRefused
from shared.core.states import WaitReason
from shared.telemetry.logs import logger

FAILURES = 3
WINDOW_S = 60.0
KEPT_S = 180.0  # after the last failure and its Retry-After. The next try of what waits comes within 75 s of both.
TROUBLE = frozenset({WaitReason.UPSTREAM_DOWN, WaitReason.CREDENTIALS})
_ANSWERS = (UpstreamRefused, UpstreamMissing, UpstreamFailed)
_CREDENTIALS_REFUSED = frozenset({401, 403})

_log = logger(__name__)


class UpstreamState(StrEnum):
    """How an upstream was last seen."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Sight:
    """How an upstream was last seen: since when in unix seconds, and for a failing one why, as a WaitReason."""

    state: UpstreamState = UpstreamState.UNKNOWN
    since_s: float | None = None
    reason: str | None = None
    detail: str = ""  # what was seen last, such as "status 503"


UNSEEN = Sight()


class Health:
    """What the calls of one upstream have shown."""

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        """Take a clock that returns unix seconds."""
        self._now_s = now_s
        self._answered_since_s: float | None = None
        self._failed_s = deque[float](maxlen=FAILURES)  # the last failures since an answer
        self._failing_since_s = 0.0
        self._kept_until_s = 0.0
        self._failure = UNSEEN
        self._is_down = False

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note how the call in the block ends. A call that is cancelled shows nothing."""
        try:
            yield
        except UpstreamError as error:
            self._note_error(error)
            raise
        else:
            self.note_answer()

    def note_answer(self) -> None:
        """Note that the upstream has answered."""
        self._failed_s.clear()
        self._is_down = False
        self._answered_since_s = self._answered_since_s or self._now_s()

    def _note_error(self, error: UpstreamError) -> None:
        if isinstance(error, UpstreamRefused) and error.status in _CREDENTIALS_REFUSED:
            seen = {"reason": f"status {error.status}", "waits_for": WaitReason.CREDENTIALS}
            _log.warning("upstream.create_refused", extra=seen)  # it ends, so no line tells that it waits
            self._note_failure(WaitReason.CREDENTIALS, f"status {error.status}")
        elif isinstance(error, _ANSWERS) or error.waits_for is WaitReason.RATE_LIMIT:
            self.note_answer()
        elif error.waits_for in TROUBLE:
            self._note_failure(error.waits_for, str(error), error.retry_after_s or 0.0)

    def _note_failure(self, reason: WaitReason, detail: str, retry_after_s: float = 0.0) -> None:
        now_s = self._now_s()
        self._failing_since_s = self._failing_since_s if self._failed_s else now_s
        self._failed_s.append(now_s)
        self._kept_until_s = now_s + min(retry_after_s, RETRY_AFTER_MAX_MS / 1000) + KEPT_S
        self._is_down |= len(self._failed_s) == FAILURES and now_s - self._failed_s[0] <= WINDOW_S
        self._answered_since_s = None
        self._failure = Sight(UpstreamState.DOWN, None, reason, detail)

    def sight(self) -> Sight:
        """Return how the upstream was last seen."""
        if self._answered_since_s is not None:
            return Sight(UpstreamState.UP, self._answered_since_s)
        if not self._failed_s or self._now_s() > self._kept_until_s:
            return UNSEEN
        state = UpstreamState.DOWN if self._is_down else UpstreamState.UNKNOWN
        return Sight(state, self._failing_since_s, self._failure.reason, self._failure.detail)
