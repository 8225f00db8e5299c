"""How the benchmark asks its questions: sizes, order, and what happens to a system that cannot be measured."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest

from local.bench.builds.build import Build
from local.bench.loads.lone import EARLIEST_S, LATEST_S, counted, minutes_begun, wait_s
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import PROMPT, Contender, LacksError, Target, Upstream
from local.bench.meters.ratios import Measured
from local.bench.meters.storage_requests import StorageRequest
from local.bench.questions import Question
from local.bench.rounds import asked
from local.stack.process import PartError


@dataclass(frozen=True)
class Unused:
    """A contender that is never opened."""

    name: str
    about: str = "a test"
    configured: str = ""
    retry_waits_s: Sequence[float] = ()

    def open(self, upstream: Upstream = PROMPT) -> AbstractContextManager[Target]:
        """Fail."""
        raise PartError(self.name, f"it was opened for {upstream}")


def test_contenders_take_turns_and_every_second_round_is_backwards() -> None:
    """So a slow minute of the machine does not always fall on the same one."""
    order = list[str]()

    def measure(contender: Contender, _sizes: Sizes) -> Measured:
        order.append(contender.name)
        return {"n": len(order)}

    columns = asked(Question("q", "", (), of_all=measure), [Unused("a"), Unused("b")], 2, Sizes())
    assert order == ["a", "b", "b", "a"]
    assert [one.rounds for one in columns] == [[{"n": 1}, {"n": 4}], [{"n": 2}, {"n": 3}]]


def test_one_that_fails_is_left_out_and_says_why() -> None:
    """Its column has no values, not even those of an earlier round. The others are measured."""
    times = dict.fromkeys("ab", 0)

    def measure(contender: Contender, _sizes: Sizes) -> Measured:
        times[contender.name] += 1
        if contender.name == "b" and times["b"] == 2:
            raise PartError("b", "it broke")
        return {}

    one, other = asked(Question("q", "", (), of_all=measure), [Unused("a"), Unused("b")], 3, Sizes())
    assert (times, one.rounds, one.trouble) == ({"a": 3, "b": 2}, [{}, {}, {}], None)
    assert (other.rounds, other.trouble) == ([], "b: it broke")


def test_one_that_has_nothing_to_measure_is_told_from_one_that_fails() -> None:
    """Its column says so, and why."""

    def measure(contender: Contender, _sizes: Sizes) -> Measured:
        raise (LacksError if contender.name == "b" else PartError)(contender.name, "no streams")

    one, other = asked(Question("q", "", (), of_all=measure), [Unused("a"), Unused("b")], 1, Sizes())
    assert (one.lacks, other.lacks, other.trouble) == (False, True, "b: no streams")


def test_a_question_about_the_service_is_not_asked_of_peers() -> None:
    """Only builds have a column."""
    question = Question("q", "", (), of_builds=lambda _build, _sizes: {"n": 1})
    assert [one.name for one in asked(question, [Build(), Unused("peer")], 1, Sizes())] == ["this build"]


def test_a_scale_makes_every_count_smaller_and_none_larger() -> None:
    """A count is never below 8, and a length of time stays, except that the kill stays in the middle of its load."""
    half = Sizes().scaled(0.5)
    assert (half.responses, half.in_flight, half.killed, half.kill_after_s) == (250, 1250, 125, 2.5)
    assert (half.idle_s, half.stream_s) == (Sizes().idle_s, Sizes().stream_s)
    assert Sizes().scaled(1) == Sizes()
    assert Sizes().scaled(0.0001).responses == 8
    assert Sizes(in_flight=4).scaled(0.5).in_flight == 4
    assert "responses 250, " in str(half)


@pytest.mark.parametrize(
    ("began_s", "ended_s", "expected"), [(0, 59.9, 0), (59.9, 60, 1), (61, 119, 0), (30, 180, 3), (60, 60, 0)]
)
def test_minutes_that_begin_in_a_life_are_counted(began_s: float, ended_s: float, expected: int) -> None:
    """Timers run when a minute begins, and what they send is subtracted once for each."""
    assert minutes_begun(began_s, ended_s) == expected


@pytest.mark.parametrize(("now_s", "expected"), [(600, 10), (609, 1), (610, 0), (645, 0), (646, 24), (659, 11)])
def test_a_short_life_begins_where_it_meets_no_timer(now_s: float, expected: float) -> None:
    """It waits for the time between the 10th and the 45th second of a minute."""
    assert wait_s(now_s, EARLIEST_S, LATEST_S) == expected


def test_polls_that_found_no_message_are_not_counted() -> None:
    """An idle host makes them, too."""
    path = "/account/deliveries/messages"
    requests = [StorageRequest("queue", "GET", path, b"", brought_message=brought) for brought in (True, False)]
    assert counted(requests) == 1
