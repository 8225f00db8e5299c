"""What breaks: how lost, doubled and late are reckoned, and small runs of the service on the real stack."""

from dataclasses import replace

import pytest

from local.bench.builds.build import Build
from local.bench.faults.kill import HELD_KEYLESS, kill_start_run, kill_values
from local.bench.faults.reckoning import Event, Read, doubled_of, has_text, lost_of, resume_values
from local.bench.faults.refusal import reckoned, refusal_values, unaccepted
from local.bench.faults.resume import resume_run
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import PROMPT, LacksError
from local.bench.meters.figures import Callback, Observed, Submission, Usage
from local.bench.peers.apps import retries
from local.bench.peers.catalogue import PEERS, Peer
from local.bench.questions import QUESTIONS

TINY = Sizes(killed=40, kill_after_s=0.5, down_s=0.5, watched_s=1, refused=5, resumed=2, resumed_s=0.5)
EVENTS = [Event(0, "created"), Event(1, "delta", "He"), Event(2, "delta", "llo"), Event(3, "end", "", "Hello")]
WHOLE = Read("a", EVENTS)
OBSERVED = Observed(
    submissions=[Submission(0, 1, name) for name in ("a", "b", "c", "d", None)],
    completions={"a": 100.0, "b": 100.0, "c": 101.0, "e": 102.0},
    callbacks=[
        Callback("a", 100.5),
        Callback("b", 104.0),
        Callback("c", 102.0, "response.failed"),
        Callback("e", 103.0),
        Callback("a", 109.0),
    ],
    upstream_calls=0,
    started_twice=2,
    usage=Usage(0, 0, 0),
    load_average=0,
    asked_twice=3,
)


def test_a_kill_is_told_in_lost_twice_and_late() -> None:
    """A response without a callback is lost, and a failed one is not. One that nobody was told of may still go on."""
    found = kill_values(OBSERVED, held=7)
    assert (found["lost"], found["failed"], found["refused"], found["unanswered"]) == (1, 1, 1, 1)
    assert (found["started_twice"], found["asked_twice"], found["called_back_twice"]) == (2, 3, 1)
    assert (found["p50_s"], found["worst_s"], found["held"]) == (1, 4, 7)


def test_refused_callbacks_are_told_from_the_others() -> None:
    """Each kind has its own times, of the callbacks that were accepted in the end."""
    found = refusal_values(OBSERVED, {"b", "d"})
    assert (found["accepted"], found["refusing"]) == (4, 2)
    assert (found["refused_p50_s"], found["refused_worst_s"]) == (4, 4)
    assert (found["others_p95_s"], found["others_worst_s"]) == (1, 1)


@pytest.mark.parametrize(("gives_up_s", "lost", "still_tried"), [(None, 2, 0), (10, 2, 0), (60, 1, 1), (1000, 1, 1)])
def test_a_callback_that_is_still_tried_is_not_lost(gives_up_s: float | None, lost: int, still_tried: int) -> None:
    """It is late. It is lost when the schedule has ended, or if its work never ended."""
    observed = replace(
        OBSERVED, completions={**OBSERVED.completions, "b": 150.0}, callbacks=[Callback("a", 1), Callback("c", 2)]
    )
    assert unaccepted(observed, gives_up_s, now_s=200.0) == {"lost": lost, "still_tried": still_tried}


def test_a_schedule_says_when_a_callback_is_accepted() -> None:
    """The times are the sums of its first waits. A schedule that ends before has no such time."""
    assert reckoned([1, 2, 4, 8, 16]) == {"after_2_s": 3, "after_4_s": 15, "gives_up_s": 31}
    assert reckoned([1, 2, 4]) == {"after_2_s": 3, "after_4_s": None, "gives_up_s": 7}
    assert reckoned([]) == {"after_2_s": None, "after_4_s": None, "gives_up_s": None}


def test_the_schedules_are_those_that_run() -> None:
    """Ours is the service's own. It waits longest, and is the last to give up."""
    ends = {one.name: reckoned(one.retry_waits_s) for one in (Build(), *PEERS)}
    assert ends["this build"] == {"after_2_s": 305, "after_4_s": 9305, "gives_up_s": 272_105}
    assert ends["celery"] == ends["procrastinate"] == {"after_2_s": 2, "after_4_s": 4, "gives_up_s": 10}
    assert ends["dbos"] == {"after_2_s": 3, "after_4_s": 15, "gives_up_s": 511}
    assert ends["restate"]["after_4_s"] == 7.5
    assert len(retries.of_restate()) == retries.RESTATE_ATTEMPTS - 1
    assert max(retries.of_restate()) == retries.RESTATE_MOST_S


def test_the_schedule_of_another_commit_is_not_known() -> None:
    """So nothing is reckoned for it."""
    other = Build("dd14d2e", replace(Build().served, python="elsewhere"))
    assert other.retry_waits_s == ()


def test_a_whole_stream_has_lost_and_doubled_nothing() -> None:
    """Its pieces make the text of its end."""
    assert (lost_of(WHOLE, 3), doubled_of(WHOLE), has_text(WHOLE)) == (0, 0, True)


@pytest.mark.parametrize(
    ("numbers", "lost", "doubled"),
    [
        ([0, 1, 3], 1, 0),
        ([0, 1, 1, 2, 3], 0, 1),
        ([0, 2, 1, 3], 0, 1),
        ([0, 1], 2, 0),
        ([], 4, 0),
        ([0, 1, 2, 3, 3, 3], 0, 2),
    ],
)
def test_a_gap_is_lost_and_a_repeat_is_doubled(numbers: list[int], lost: int, doubled: int) -> None:
    """An event that comes after a later one counts as doubled, too."""
    read = Read("a", [replace(WHOLE.events[number]) for number in numbers])
    assert (lost_of(read, 3), doubled_of(read)) == (lost, doubled)


def test_a_text_without_its_end_is_wrong() -> None:
    """So is one whose end has another text, and an empty one."""
    assert not has_text(Read("a", WHOLE.events[:3]))
    assert not has_text(Read("a", [*WHOLE.events[:3], Event(3, "end", "", "Hell")]))
    assert not has_text(Read("a", [EVENTS[0], EVENTS[2], EVENTS[3]]))
    assert not has_text(Read("a", [Event(0, "end")]))


def test_live_and_logged_reads_are_held_against_each_other() -> None:
    """What one reader of a response had, the other should have had."""
    short = Read("a", WHOLE.events[:2], [5.0])
    found = resume_values([WHOLE, replace(WHOLE, response_id="b")], [short, replace(WHOLE, response_id="b")])
    assert (found["streams"], found["events"], found["resumes"]) == (2, 8, 1)
    assert (found["lost"], found["doubled"], found["wrong_text"], found["logged_p50_ms"]) == (2, 0, 1, 5.0)


def test_what_breaks_is_asked_of_all() -> None:
    """These pages say where others win."""
    names = {one.name: one for one in QUESTIONS}
    for name in ("kill", "kill-start", "kill-keyless", "refusal", "resume"):
        assert names[name].of_all is not None
        assert any(row.less_wins for row in names[name].rows)


def test_a_model_can_hold_its_answers_and_know_no_keys() -> None:
    """These are its switches, which are set after the warm-up."""
    assert HELD_KEYLESS.faults == {"create_latency_s": 0.3, "ignore_idempotency": True}
    assert PROMPT.faults == {"create_latency_s": 0, "ignore_idempotency": False}


def test_a_peer_without_streams_has_none() -> None:
    """DBOS alone has some that can be resumed."""
    assert [one.name for one in PEERS if one.streams] == ["dbos"]
    peer = Peer("celery", lambda _site, _python, _env: "", lambda: "a store")
    assert peer.streams is None
    assert issubclass(LacksError, Exception)


def test_a_kill_inside_start_calls_loses_nothing_that_was_accepted() -> None:
    """Some calls are out at the kill, and the work of each key is started once."""
    found = kill_start_run(Build(), TINY)
    assert (found["lost"], found["failed"], found["started_twice"]) == (0, 0, 0)
    assert (found["held"] or 0) >= 1


def test_each_event_of_a_resumed_stream_comes_once() -> None:
    """Each resume gives the event after the one before, live and from the log."""
    found = resume_run(Build(), TINY)
    assert (found["streams"], found["lost"], found["doubled"], found["wrong_text"]) == (2, 0, 0, 0)
    assert (found["resumes"] or 0) == 2 * ((found["events"] or 0) - 2)
    assert (found["events"] or 0) >= 2 * 10
