"""How the benchmark asks its questions: sizes, order, and what happens to a system that cannot be measured."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from local.bench.builds.build import Build
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import Contender, Target
from local.bench.meters.ratios import Measured
from local.bench.questions import Question
from local.bench.rounds import asked
from local.stack.process import PartError


@dataclass(frozen=True)
class Unused:
    """A contender that is never opened."""

    name: str
    about: str = "a test"

    def open(self) -> AbstractContextManager[Target]:
        """Fail."""
        raise PartError(self.name, "it was opened")


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


def test_a_question_about_the_service_is_not_asked_of_peers() -> None:
    """Only builds have a column."""
    question = Question("q", "", (), of_builds=lambda _build, _sizes: {"n": 1})
    assert [one.name for one in asked(question, [Build(), Unused("peer")], 1, Sizes())] == ["this build"]


def test_a_scale_makes_every_count_smaller_and_none_larger() -> None:
    """A count is never below 8, and a length of time stays, except that the kill stays in the middle of its load."""
    half = Sizes().scaled(0.5)
    assert (half.responses, half.in_flight, half.killed, half.kill_after_s) == (250, 1250, 200, 4)
    assert (half.idle_s, half.stream_s) == (Sizes().idle_s, Sizes().stream_s)
    assert Sizes().scaled(1) == Sizes()
    assert Sizes().scaled(0.0001).responses == 8
    assert Sizes(in_flight=4).scaled(0.5).in_flight == 4
    assert "responses 250, " in str(half)
