"""The bulkhead: limits how many attempts are under way at once, and shares the slots between callers and their hosts.

A host may use every slot that nobody else wants. If several callers wait, a free slot goes to the one that has the
fewest, and of its hosts to the one that has the fewest. A host that has shown no answer lately may keep each slot until
the attempt times out. So it has at most a quarter of the slots, and all such hosts of one caller have at most half.

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
_LATE_S = 0.1  # by how much a timer is late that the process was kept from
_HOSTS = 4  # at least this number of hosts share the slots if none of them answers
_CALLERS = 2  # at least this number of callers share them then
_WEIGHT = 0.2  # of the latest attempt in the mean time that a slot is held

_Turn = asyncio.Future[None]


class NoCapacity(Exception):
    """No slot is free, and none will be soon."""


@dataclass(slots=True)
class Held:
    """A slot that is held. `has_answered` is false if the attempt ended without a sign of the host."""

    has_answered: bool = True


@dataclass(eq=False, slots=True)
class _Caller:
    """A caller that has slots or waits for one. `trials` are its slots at hosts that had shown no answer lately."""

    levels: list[dict["_Host", None]]  # its hosts that wait, by the number of slots that they have
    taken: int = 0
    trials: int = 0

    @property
    def is_waiting(self) -> bool:
        return any(self.levels)


@dataclass(eq=False, slots=True)
class _Host:
    """A host that has slots or waits for one. Times are seconds of the loop's clock.

    `held_s` is the mean time from taking a slot to an answer, and 0 before the first answer.
    """

    taken: int = 0
    last_s: float = 0.0  # when it took the last slot
    answered_s: float | None = None  # when it answered last, or None if the last attempt had no answer
    held_s: float = 0.0
    lines: dict[_Caller, dict["_Attempt", None]] = field(default_factory=dict)  # in turn. No line is empty

    @property
    def waiting(self) -> int:
        return sum(map(len, self.lines.values()))


@dataclass(eq=False, slots=True)
class _Attempt:
    """One that waits for a slot, or has one. It is a trial if its host had shown no answer when it got the slot."""

    turn: _Turn
    host: _Host
    caller: _Caller
    is_trial: bool = False


class Bulkhead:
    """A fixed number of slots, shared by all callers."""

    def __init__(self, slots: int, *, stall_s: float = STALL_S) -> None:
        self._slots = self._free = slots
        self._quarter = slots // _HOSTS
        self._most_trials = slots // _CALLERS
        self._stall_s = stall_s
        self._held_s = 0.0  # the mean over all hosts
        self._hosts: dict[str, _Host] = {}
        self._callers: dict[str, _Caller] = {}
        # the callers that wait, by the number of slots that they have. Within one number they take turns.
        self._waiting: list[dict[_Caller, None]] = [{} for _ in range(slots + 1)]

    @asynccontextmanager
    async def slot(self, host: str, patience_s: float, *, caller: str = "") -> AsyncIterator[Held]:
        """Hold a slot for a caller's attempt. Raises NoCapacity if it does not get one within `patience_s`."""
        loop = asyncio.get_running_loop()
        one = self._hosts.setdefault(host, _Host())
        theirs = self._callers.setdefault(caller, _Caller([{} for _ in range(self._slots + 1)]))
        attempt, held = _Attempt(loop.create_future(), one, theirs), Held()
        self._line_up(attempt)
        self._hand_out()
        try:
            await self._wait(attempt.turn, one, loop.time() + patience_s)
            began_s = loop.time()
            try:
                yield held
            finally:
                self._learn(one, held, loop.time() - began_s)
        finally:
            self._leave(attempt)
            if not (one.taken or one.lines):
                self._hosts.pop(host, None)
            if not (theirs.taken or theirs.is_waiting):
                self._callers.pop(caller, None)

    def is_long(self, host: str, caller: str = "") -> bool:
        """Return whether an attempt that came now would probably not begin within 4 s. This changes nothing."""
        one, theirs = self._hosts.get(host) or _Host(), self._callers.get(caller)
        if self._is_full(one):
            return self._stalls_at(one) <= _now_s() or self._wait_s(one.waiting, one.held_s, one.taken) > LONG_S
        if theirs and not self._may_try(theirs, one):
            return self._wait_s(_waiting(theirs), self._held_s, self._most_trials) > LONG_S
        return not self._free and self._wait_s(*self._share(one, theirs)) > LONG_S

    def is_free(self, host: str, caller: str = "") -> bool:
        """Return whether an attempt that came now would have a slot at once. This changes nothing."""
        one, theirs = self._hosts.get(host) or _Host(), self._callers.get(caller)
        is_refused = one.lines or self._is_full(one) or (theirs and not self._may_try(theirs, one))
        return self._free > 0 and not is_refused

    def _share(self, one: _Host, theirs: _Caller | None) -> tuple[int, float, float]:
        """Return how many of a caller wait at a host, how long a slot is held, and how many slots serve their line."""
        mine = [each for level in theirs.levels for each in level] if theirs else []
        callers = sum(map(len, self._waiting)) + (not mine)
        hosts = len(mine) + (one not in mine)
        return len(one.lines.get(theirs, ())) if theirs else 0, self._held_s, self._slots / callers / hosts

    @staticmethod
    def _wait_s(waiting: int, held_s: float, slots: float) -> float:
        """Return how long the next attempt behind others would wait, if this number of slots serves them."""
        return (waiting + 1) * held_s / slots

    async def _wait(self, turn: _Turn, one: _Host, until_s: float) -> None:
        while not turn.done():
            due_s = min(until_s, self._stalls_at(one))
            if due_s <= _now_s():
                raise NoCapacity
            await asyncio.wait([turn], timeout=due_s - _now_s())
            if _now_s() > due_s + _LATE_S:  # this process stood still, so it has not seen what was released meanwhile
                one.last_s = _now_s()

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

    def _may_try(self, theirs: _Caller, one: _Host) -> bool:
        """Return whether a caller may have one more slot at a host, as far as its hosts that do not answer allow it."""
        return self._answers(one) or theirs.trials < self._most_trials

    def _hand_out(self) -> None:
        """Give every free slot to the caller that has the fewest, of those that wait and may have one more."""
        while self._free and (found := self._next()):
            theirs, one = found
            attempt = next(iter(one.lines[theirs]))
            self._drop(attempt)
            attempt.is_trial = not self._answers(one)
            self._move(attempt, 1)
            one.last_s = _now_s()
            attempt.turn.set_result(None)

    def _next(self) -> tuple[_Caller, _Host] | None:
        waiting = (
            (theirs, one)
            for level in self._waiting
            for theirs in level
            for hosts in theirs.levels
            for one in hosts
            if not self._is_full(one) and self._may_try(theirs, one)
        )
        return next(waiting, None)

    def _line_up(self, attempt: _Attempt) -> None:
        """Let an attempt wait, its host and its caller behind the others with as many slots."""
        one, theirs = attempt.host, attempt.caller
        one.lines.setdefault(theirs, {})[attempt] = None
        theirs.levels[one.taken][one] = None
        self._waiting[theirs.taken][theirs] = None

    def _drop(self, attempt: _Attempt) -> None:
        one, theirs = attempt.host, attempt.caller
        del one.lines[theirs][attempt]
        if not one.lines[theirs]:
            del one.lines[theirs], theirs.levels[one.taken][one]
        if not theirs.is_waiting:
            self._waiting[theirs.taken].pop(theirs, None)

    def _move(self, attempt: _Attempt, by: int) -> None:
        """Count a slot that an attempt has taken or released."""
        one, theirs = attempt.host, attempt.caller
        for each in one.lines:
            del each.levels[one.taken][one]
        self._waiting[theirs.taken].pop(theirs, None)
        self._free -= by
        one.taken += by
        theirs.taken += by
        theirs.trials += by * attempt.is_trial
        for each in one.lines:
            each.levels[one.taken][one] = None
        if theirs.is_waiting:
            self._waiting[theirs.taken][theirs] = None

    def _leave(self, attempt: _Attempt) -> None:
        """Stop waiting, or give the slot back."""
        if attempt in attempt.host.lines.get(attempt.caller, ()):
            self._drop(attempt)
        else:
            self._move(attempt, -1)
            self._hand_out()

    def _learn(self, one: _Host, held: Held, held_s: float) -> None:
        one.answered_s = _now_s() if held.has_answered else None
        self._held_s = _mean(self._held_s, held_s)
        if held.has_answered:
            one.held_s = _mean(one.held_s, held_s)


def _waiting(theirs: _Caller) -> int:
    return sum(len(one.lines[theirs]) for level in theirs.levels for one in level)


def _mean(before_s: float, latest_s: float) -> float:
    return before_s + _WEIGHT * (latest_s - before_s) if before_s else latest_s


def _now_s() -> float:
    return asyncio.get_running_loop().time()
