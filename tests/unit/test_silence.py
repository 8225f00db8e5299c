"""Silences: who waits is told when nothing has come for too long, by one timer for any number of pieces."""

from asyncio import TimerHandle
from collections.abc import Callable, Iterator
from contextlib import closing
from contextvars import Context
from typing import TypeVarTuple

import pytest

from shared.silence import Silence
from tests.support.virtual_time import VirtualLoop

MOST_S = 15.0
Ts = TypeVarTuple("Ts")


class CountingLoop(VirtualLoop):
    """A loop that counts the timers of a silence, and not those of a sleeping test."""

    timers = 0

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> TimerHandle:
        """Set a timer."""
        self.timers += getattr(callback, "__qualname__", "").startswith(Silence.__name__)
        return super().call_at(when, callback, *args, context=context)


class Listened:
    """A silence on a loop of its own, whose clock jumps. `over` are the times at which it was over."""

    def __init__(self, loop: CountingLoop) -> None:
        self.loop = loop
        self.over: list[float] = []
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self.silence = Silence(MOST_S, lambda: self.over.append(self.loop.time()))

    def pieces(self, count: int, every_s: float) -> None:
        """Let pieces come, and the silence begin again at each."""
        for _ in range(count):
            self.loop.run_for(every_s)
            self.silence.begin_again()


@pytest.fixture
def listened() -> Iterator[Listened]:
    """Return a silence that has just begun."""
    with closing(CountingLoop()) as loop:
        yield Listened(loop)


def test_a_silence_is_told_again_and_again_while_it_lasts(listened: Listened) -> None:
    """A client that hears nothing for an hour gets a heartbeat every 15 s."""
    listened.loop.run_for(4 * MOST_S + 1)
    assert listened.over == [MOST_S, 2 * MOST_S, 3 * MOST_S, 4 * MOST_S]
    assert listened.silence.is_over


def test_a_piece_begins_another_silence(listened: Listened) -> None:
    """It is told a whole silence after the last piece, and not at the time at which it would have been told before."""
    listened.pieces(3, MOST_S - 1)
    assert not listened.over
    listened.loop.run_for(MOST_S + 1)
    assert listened.over == [3 * (MOST_S - 1) + MOST_S]
    listened.silence.begin_again()
    assert not listened.silence.is_over


def test_any_number_of_pieces_has_one_timer(listened: Listened) -> None:
    """A timer for each piece would take longer than the piece."""
    listened.pieces(1_000, MOST_S / 100)
    assert listened.loop.timers <= 1_000 / 100 + 2


def test_nobody_is_told_after_the_end(listened: Listened) -> None:
    """The timer does not keep the loop, or what it would call."""
    listened.silence.end()
    listened.loop.run_for(10 * MOST_S)
    assert not listened.over
