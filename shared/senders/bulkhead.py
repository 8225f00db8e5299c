"""The bulkhead: limits how many attempts are under way at once, and shares the slots between the hosts.

A host may use every slot that no other host wants. If several hosts wait, a free slot goes to the one that has the
fewest, and of the callers that wait for this host to each in turn. A host that has shown no answer lately has at most a
quarter of the slots, because it may keep each one until the attempt times out.

An attempt that finds no free slot waits, and gives up after `patience_s`. It gives up at once if its host has as many
slots as it may have and has released none for a second longer than its answers usually take. Such a host drops packets.
Waiting costs the same for a line of any length.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

STALL_S = 1.0
LONG_S = 4.0  # a line is long if the next attempt would not begin within this time
_HOSTS = 4  # at least this number of hosts share the slots if none of them answers
_WEIGHT = 0.2  # of the latest attempt in the mean time that a slot is held

_Turn = asyncio.Future[None]


class NoCapacity(Exception):
    """No slot is free, and none will be soon."""


@dataclass(slots=True)
class Held:
    """A slot that is held. `has_answered` is false if the attempt ended without a sign of the host."""

    has_answered: bool = True


@dataclass(eq=False, slots=True)
class _Host:
    """A host that has slots or waits for one. Times are seconds of the loop's clock.

    `held_s` is the mean time from taking a slot to an answer, and 0 before the first answer.
    """

    taken: int = 0
    last_s: float = 0.0  # when it took the last slot
    answered_s: float | None = None  # when it answered last, or None if the last attempt had no answer
    held_s: float = 0.0
    lines: dict[str, dict[_Turn, None]] = field(default_factory=dict)  # by caller, in turn. No line is empty

    @property
    def waiting(self) -> int:
        return sum(map(len, self.lines.values()))


class Bulkhead:
    """A fixed number of slots, shared by all hosts."""

    def __init__(self, slots: int, *, stall_s: float = STALL_S) -> None:
        self._slots = self._free = slots
        self._quarter = slots // _HOSTS
        self._stall_s = stall_s
        self._held_s = 0.0  # the mean over all hosts
        self._hosts: dict[str, _Host] = {}
        # the hosts that wait, by the number of slots that they have. Within one number they take turns.
        self._waiting: list[dict[_Host, None]] = [{} for _ in range(slots + 1)]

    @asynccontextmanager
    async def slot(self, host: str, patience_s: float, *, caller: str = "") -> AsyncIterator[Held]:
        """Hold a slot for a host. Raises NoCapacity if the host does not get one within `patience_s`."""
        loop = asyncio.get_running_loop()
        turn, held = loop.create_future(), Held()
        one = self._hosts.setdefault(host, _Host())
        self._line_up(one, caller, turn)
        self._hand_out()
        try:
            await self._wait(turn, one, loop.time() + patience_s)
            began_s = loop.time()
            try:
                yield held
            finally:
                self._learn(one, held, loop.time() - began_s)
        finally:
            self._leave(one, caller, turn)
            if not (one.taken or one.lines):
                del self._hosts[host]

    def is_long(self, host: str) -> bool:
        """Return whether an attempt that came now would probably not begin within 4 s. This changes nothing."""
        one = self._hosts.get(host) or _Host()
        if self._is_full(one):
            return self._stalls_at(one) <= _now_s() or self._wait_s(one, one.held_s, one.taken) > LONG_S
        hosts = sum(map(len, self._waiting)) + (not one.lines)
        return not self._free and self._wait_s(one, self._held_s, self._slots / hosts) > LONG_S

    def is_free(self, host: str) -> bool:
        """Return whether an attempt that came now would have a slot at once. This changes nothing."""
        one = self._hosts.get(host)
        return self._free > 0 and not (one and (one.lines or self._is_full(one)))

    @staticmethod
    def _wait_s(one: _Host, held_s: float, slots: float) -> float:
        """Return how long the next attempt for a host would wait, if the host is served by this number of slots."""
        return (one.waiting + 1) * held_s / slots

    async def _wait(self, turn: _Turn, one: _Host, until_s: float) -> None:
        while not turn.done():
            left_s = min(until_s, self._stalls_at(one)) - _now_s()
            if left_s <= 0:
                raise NoCapacity
            await asyncio.wait([turn], timeout=left_s)

    def _stalls_at(self, one: _Host) -> float:
        """Return the earliest time at which the host may have released no slot for too long."""
        since_s = one.last_s if self._is_full(one) else _now_s()
        return since_s + self._stall_s + one.held_s

    def _is_full(self, one: _Host) -> bool:
        """Return whether the host has as many slots as it may have: all of them, or a quarter if it does not answer."""
        if one.taken < self._quarter:
            return False
        return one.taken == self._slots or not self._answers(one)

    def _answers(self, one: _Host) -> bool:
        return one.answered_s is not None and _now_s() <= one.answered_s + self._stall_s + one.held_s

    def _hand_out(self) -> None:
        """Give every free slot to the host that has the fewest, of those that wait and may have one more."""
        while self._free and (one := self._next()):
            caller = next(iter(one.lines))
            turn = next(iter(one.lines[caller]))
            self._drop(one, caller, turn)
            if caller in one.lines:
                one.lines[caller] = one.lines.pop(caller)  # the other callers come first now
            self._move(one, 1)
            one.last_s = _now_s()
            turn.set_result(None)

    def _next(self) -> _Host | None:
        hosts = (one for level in self._waiting for one in level if not self._is_full(one))
        return next(hosts, None)

    def _line_up(self, one: _Host, caller: str, turn: _Turn) -> None:
        one.lines.setdefault(caller, {})[turn] = None
        self._waiting[one.taken][one] = None

    def _drop(self, one: _Host, caller: str, turn: _Turn) -> None:
        del one.lines[caller][turn]
        if not one.lines[caller]:
            del one.lines[caller]
        if not one.lines:
            del self._waiting[one.taken][one]

    def _move(self, one: _Host, by: int) -> None:
        """Count a slot that a host has taken or released."""
        self._waiting[one.taken].pop(one, None)
        self._free -= by
        one.taken += by
        if one.lines:
            self._waiting[one.taken][one] = None

    def _leave(self, one: _Host, caller: str, turn: _Turn) -> None:
        """Stop waiting, or give the slot back."""
        if turn in one.lines.get(caller, ()):
            self._drop(one, caller, turn)
        else:
            self._move(one, -1)
            self._hand_out()

    def _learn(self, one: _Host, held: Held, held_s: float) -> None:
        one.answered_s = _now_s() if held.has_answered else None
        self._held_s = _mean(self._held_s, held_s)
        if held.has_answered:
            one.held_s = _mean(one.held_s, held_s)


def _mean(before_s: float, latest_s: float) -> float:
    return before_s + _WEIGHT * (latest_s - before_s) if before_s else latest_s


def _now_s() -> float:
    return asyncio.get_running_loop().time()
