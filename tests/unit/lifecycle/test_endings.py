"""How a response ends: the outcome of each reason, and the object, session and events of an ending."""

import base64
import random
from bisect import bisect_right
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core import blobs
from shared.core.blobs import MAX_PACKED
from shared.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamInvalid,
    UpstreamOversized,
    UpstreamRefused,
    UpstreamUncertain,
)
from shared.core.event_log import event_rows, size_of
from shared.core.records import ExecutionMode, Record, RequestInfo
from shared.core.states import IllegalTransition, Status, finish
from shared.lifecycle import endings
from shared.lifecycle.endings import Outcome, ending_of
from shared.transitions.response_transitions import Ending
from shared.upstreams.protocol import Progress

ID = "resp_0123456789abcdef0123456789abcdef"
NOW_MS = 1_800_000_005_000
NEW = Record(ID, "ann", NOW_MS - 5_000, NOW_MS + 60_000, request=RequestInfo(store=True, model="m"))
POLLED = replace(NEW, request=replace(NEW.request, stream=True))
RUN = replace(POLLED, run=replace(POLLED.run, mode=ExecutionMode.RUN, claimed=True))
MESSAGE = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "hello"}]}
ANSWER: dict[str, Any] = {"output": [MESSAGE]}


def completed(answer: dict[str, Any], **fields: Any) -> Outcome:
    """Return the outcome of work that has completed with this answer."""
    return replace(endings.by_progress(Progress(Status.COMPLETED, None, answer), NOW_MS), **fields)


def shown(ending: Ending) -> dict[str, Any]:
    """Return the response object of an ending. It must have the same status."""
    found: dict[str, Any] = blobs.unpack(ending.body)
    assert (found["id"], found["status"]) == (ID, ending.status)
    return found


def noise(size: int) -> str:
    """Return a text that has about `size` bytes when it is packed. It is the same at every call."""
    return base64.b64encode(random.Random(7).randbytes(size)).decode()


# Outcomes


@pytest.mark.parametrize(
    ("outcome", "status", "stop"),
    [
        (endings.cancelled(NOW_MS), "cancelled", True),
        (endings.deadline_exceeded(NOW_MS), "failed", True),
        (endings.internal_error(NOW_MS), "failed", True),
        (endings.lost("Gone.", NOW_MS), "failed", False),
        (endings.refused(UpstreamRefused(400, "No."), NOW_MS), "failed", False),
        (endings.unusable(UpstreamInvalid(), NOW_MS), "failed", False),
        (endings.unusable(UpstreamInvalid(), NOW_MS, stop=True), "failed", True),
        (endings.by_failure("c", "Why.", NOW_MS), "failed", False),
        (endings.by_failure("c", "Why.", NOW_MS, stop=True), "failed", True),
        (completed(ANSWER), "completed", False),
    ],
)
def test_work_is_stopped_if_it_may_go_on(outcome: Outcome, status: str, stop: bool) -> None:
    """An end that the upstream does not know stops its work. An end that it has reported needs no stop."""
    ending = ending_of(NEW, outcome)
    assert (ending.status, ending.stop, outcome.now_ms) == (status, stop, NOW_MS)


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        (endings.by_failure("c", "Why.", NOW_MS), "c", "Why."),
        (endings.lost("Gone.", NOW_MS), "upstream_lost", "Gone."),
        (endings.refused(UpstreamRefused(400, "No.", code="bad_tool"), NOW_MS), "bad_tool", "No."),
        (endings.refused(UpstreamRefused(400, "No."), NOW_MS), "upstream_refused", "No."),
        (endings.unusable(UpstreamOversized(), NOW_MS), "output_too_large", UpstreamOversized.message),
        (endings.unusable(UpstreamInvalid(), NOW_MS), "upstream_invalid", UpstreamInvalid.message),
        (endings.deadline_exceeded(NOW_MS), "deadline_exceeded", "The response was not finished before its deadline."),
        (endings.internal_error(NOW_MS), "internal_error", "The service failed to handle this response."),
    ],
)
def test_a_failure_has_a_code_and_a_message(outcome: Outcome, code: str, message: str) -> None:
    """The caller reads both in the response object, which has no output. The type says whose fault it is."""
    found = shown(ending_of(NEW, outcome))
    kind = "invalid_request_error" if outcome.refusal else "server_error"
    assert found["error"] == {"code": code, "message": message, "type": kind, "param": None}
    assert found["output"] == []


def test_a_refusal_keeps_the_upstreams_words_and_its_status() -> None:
    """The members of the error are those of the upstream. Only a 4xx may be answered to the POST that waits."""
    refusal = UpstreamRefused(402, "Pay.", code="no_credit", kind="billing_error", param="model")
    outcome = endings.refused(refusal, NOW_MS)
    error = {"code": "no_credit", "message": "Pay.", "type": "billing_error", "param": "model"}
    assert shown(ending_of(NEW, outcome))["error"] == error
    assert ending_of(NEW, outcome).refusal == 402
    assert endings.refused(UpstreamRefused(302, "Elsewhere."), NOW_MS).refusal == 0


@pytest.mark.parametrize(
    ("error", "code", "cause"),
    [
        (UpstreamUncertain("status 502"), "upstream_unavailable", "status 502"),
        (UpstreamUncertain("status 500", code="oom", message="No memory."), "oom", "No memory"),
        (UpstreamBroken("the stream ended early"), "upstream_unavailable", "the stream ended early"),
        (UpstreamInvalid(), "upstream_invalid", "The upstream's answer is not a response object"),
    ],
)
def test_an_abandoned_start_names_the_last_cause(error: UpstreamError, code: str, cause: str) -> None:
    """The message has the last cause, in the upstream's words if it gave any, and says that work may be running."""
    error_shown = shown(ending_of(NEW, endings.abandoned(error, NOW_MS)))["error"]
    assert error_shown["code"] == code
    assert f"failed: {cause}. " in error_shown["message"]
    assert error_shown["message"].endswith("Work may be running upstream.")


@pytest.mark.parametrize("status", Status)
def test_progress_ends_a_response_as_the_upstream_says(status: Status) -> None:
    """The outcome has the upstream's status, answer, id and session. An unfinished status ends no response."""
    progress = Progress(status, None, ANSWER, upstream_id="up_1", session={"turn": 1})
    outcome = endings.by_progress(progress, NOW_MS)
    assert outcome == Outcome(status, ANSWER, NOW_MS, upstream_id="up_1", session={"turn": 1})
    assert endings.by_progress(progress, NOW_MS, synthesize=True) == replace(outcome, synthesize=True)
    if not status.is_terminal:
        with pytest.raises(IllegalTransition):
            finish(NEW.status, ending_of(NEW, outcome).status)


# What is known of a response


def test_a_response_repeats_the_settings_of_its_request() -> None:
    """Before the upstream has answered, the fields of the request are what is known. A known object is kept."""
    echoing = endings.echoing(NEW, {"model": "sim", "temperature": 0.2, "input": "geheim"})
    assert endings.known_object(echoing) == {"model": "sim", "temperature": 0.2}
    assert endings.echoing(echoing, {"temperature": 0.9}) is echoing


def test_a_response_of_which_nothing_is_known_has_its_model() -> None:
    """The model is in the record, because log lines and metrics need it without the object."""
    assert endings.known_object(NEW) == {"model": "m"}
    assert endings.known_object(replace(NEW, body=blobs.pack({"top_p": 0.5}))) == {"model": "m", "top_p": 0.5}


def test_fields_that_the_answer_lacks_come_from_the_known_object() -> None:
    """The answer takes precedence. The outcome of a cancel has no answer at all."""
    record = replace(NEW, body=blobs.pack({"temperature": 0.2, "top_p": 0.5, "output": [MESSAGE]}))
    found = shown(ending_of(record, completed({"output": [], "top_p": 0.9})))
    assert (found["temperature"], found["top_p"], found["model"], found["output"]) == (0.2, 0.9, "m", [])
    found = shown(ending_of(record, endings.cancelled(NOW_MS)))
    assert (found["temperature"], found["top_p"], found["output"]) == (0.2, 0.5, [])


def test_an_internal_error_reads_nothing_that_may_be_damaged() -> None:
    """A response whose object cannot be read still ends. Any other outcome reads the object."""
    damaged = replace(NEW, body=b"damaged")
    found = shown(ending_of(damaged, endings.internal_error(NOW_MS)))
    assert (found["error"]["code"], found["model"]) == ("internal_error", "m")
    with pytest.raises(ValueError, match="damaged"):
        ending_of(damaged, endings.cancelled(NOW_MS))


def test_an_ending_has_the_time_of_the_outcome_and_the_upstream_id() -> None:
    """The object of a completed response has the time in seconds."""
    ending = ending_of(NEW, completed(ANSWER, upstream_id="up_1"))
    assert ending.upstream_id == "up_1"
    assert shown(ending)["completed_at"] == NOW_MS // 1000


# Sizes


def test_an_output_over_the_limit_fails_the_response() -> None:
    """The failure has the model and the upstream's id, but no session and no events, because there is no output."""
    outcome = completed({"output": [{"a": noise(MAX_PACKED)}]}, upstream_id="up_1", session={})
    ending = ending_of(POLLED, replace(outcome, stop=True))
    found = shown(ending)
    assert (found["error"]["code"], found["output"], found["model"]) == ("output_too_large", [], "m")
    assert (ending.status, ending.stop, ending.upstream_id) == (Status.FAILED, True, "up_1")
    assert (ending.session, ending.synthesized) == (b"", ())
    assert not endings.lost_session(outcome, ending), "there is no session to miss, because nothing can follow"


# Sessions


def test_a_session_is_kept_for_the_next_response() -> None:
    """An agent's session is packed beside the object. An empty session is one, too."""
    for session in ({"turns": [1, 2]}, {}):
        outcome = completed(ANSWER, session=session)
        ending = ending_of(NEW, outcome)
        assert blobs.unpack(ending.session) == session
        assert not endings.lost_session(outcome, ending)
    outcome = completed(ANSWER)
    assert ending_of(NEW, outcome).session == b""
    assert not endings.lost_session(outcome, ending_of(NEW, outcome))


def test_a_session_that_is_too_large_is_left_out() -> None:
    """The response has its output, but it cannot be continued."""
    outcome = completed(ANSWER, session={"turns": noise(MAX_PACKED)})
    ending = ending_of(NEW, outcome)
    assert (ending.status, shown(ending)["output"], ending.session) == (Status.COMPLETED, [MESSAGE], b"")
    assert endings.lost_session(outcome, ending)


def test_an_object_and_a_session_share_the_room_of_one_transaction() -> None:
    """Together they may have MAX_PACKED bytes. With one more, only the object is kept."""
    answer, turns = {"output": [{"a": noise(MAX_PACKED - 90_000)}]}, noise(10_000)
    sessions = [{"turns": turns[:length]} for length in range(len(turns))]
    body = ending_of(NEW, completed(answer)).body
    room = MAX_PACKED - len(body)
    over = bisect_right(sessions, room, key=lambda session: len(blobs.pack(session)))
    assert len(blobs.pack(sessions[over - 1])) == room
    for session, is_kept in ((sessions[over - 1], True), (sessions[over], False)):
        outcome = completed(answer, session=session)
        ending = ending_of(NEW, outcome)
        assert (ending.body, ending.session) == (body, blobs.pack(session) if is_kept else b"")
        assert endings.lost_session(outcome, ending) is not is_kept


# Events for the readers of a stream


@pytest.mark.parametrize(
    ("record", "synthesize", "expected"),
    [(NEW, True, False), (POLLED, False, True), (POLLED, True, True), (RUN, False, False), (RUN, True, True)],
)
def test_an_output_that_readers_have_not_seen_becomes_events(record: Record, synthesize: bool, expected: bool) -> None:
    """This concerns a streamed response that was polled at the end, or whose upstream's stream was not complete."""
    ending = ending_of(record, completed(ANSWER, synthesize=synthesize))
    kinds = [event.kind for event in ending.synthesized]
    assert (kinds[:1], "response.output_text.delta" in kinds) == (["response.in_progress"] * expected, expected)


@pytest.mark.parametrize("outcome", [completed({"output": []}), endings.cancelled(NOW_MS), endings.lost("", NOW_MS)])
def test_without_output_there_is_nothing_to_repeat(outcome: Outcome) -> None:
    """Readers keep the events that they have, and get the terminal one."""
    assert ending_of(POLLED, replace(outcome, synthesize=True)).synthesized == ()


def test_events_without_room_are_reduced_to_the_first() -> None:
    """The first one makes readers discard what they have. They find the output in the terminal event."""
    ending = ending_of(POLLED, completed({"output": [{**MESSAGE, "more": noise(1_500_000)}]}))
    assert [event.kind for event in ending.synthesized] == ["response.in_progress"]
    assert len(ending.body) + size_of(event_rows(0, ending.synthesized)) <= MAX_PACKED


# Any answer

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["code", "text"]), inner, max_size=2),
    max_leaves=4,
)
answers = st.dictionaries(st.sampled_from(["output", "error", "usage", "model", "status", "id", "x"]), json_values)


@given(
    st.sampled_from([NEW, POLLED, RUN]),
    st.sampled_from([status for status in Status if status.is_terminal]),
    answers,
    st.none() | answers,
    st.booleans(),
)
def test_any_answer_of_an_upstream_ends_a_response(
    record: Record, status: Status, answer: dict[str, Any], session: dict[str, Any] | None, synthesize: bool
) -> None:
    """Whatever an upstream sends, the ending has its status, a complete object and attributes without content."""
    outcome = Outcome(status, answer, NOW_MS, session=session, synthesize=synthesize)
    ending = ending_of(record, outcome)
    assert (ending.status, shown(ending)["object"]) == (status, "response")
    assert ending.attributes.keys() <= {"response_model", "input_tokens", "output_tokens", "error"}
    assert not endings.lost_session(outcome, ending)
