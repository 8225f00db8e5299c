"""What a response's upstream brings: another one, waiting, an announced end, or work that must be stopped."""

from dataclasses import replace

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.records import Record, UpstreamInfo, WaitInfo
from shared.core.states import Status, WaitReason
from shared.transitions import response_transitions
from shared.transitions import upstream_transitions as transitions
from shared.transitions.response_transitions import Ending

ID = f"resp_{'a' * 32}"
NOW_MS = 1_800_000_000_000
WAIT = WaitInfo(WaitReason.UPSTREAM_DOWN, "status 503", 1, 5, 6)
NEW = Record(ID, "ann", created_ms=1, deadline_ms=NOW_MS + 9_000)
RUNNING = replace(NEW, status=Status.IN_PROGRESS, upstream=UpstreamInfo(name="eu", token="up_1", id="up_1"))
WAITING = replace(NEW, wait=WAIT)
BOUND = replace(NEW, upstream=UpstreamInfo(bound=True))
ALARM = Alarm(7, Kind.START, ID)


def ended(record: Record) -> Record:
    """Return the record, cancelled."""
    return response_transitions.end(record, Ending(Status.CANCELLED, b"", stop=True), NOW_MS, 10).record


def test_a_response_that_has_not_begun_gets_another_upstream() -> None:
    """Its name and its name of the model are written, with the alarm that the writer holds from then on."""
    change = transitions.reroute(NEW, "us", "prod-5", ALARM)
    upstream = UpstreamInfo(name="us", model="prod-5")
    assert change == ChangeSet(replace(NEW, upstream=upstream), alarms_in=(ALARM,))
    assert transitions.reroute(NEW, "us", "") == ChangeSet(replace(NEW, upstream=UpstreamInfo(name="us")))


@pytest.mark.parametrize("record", [RUNNING, BOUND, ended(NEW)], ids=["running", "may run", "ended"])
def test_no_other_response_gets_another_upstream(record: Record) -> None:
    """Its work would be done twice, or for nobody."""
    assert transitions.reroute(record, "us", "", ALARM) is None


def test_a_reason_is_written_with_the_alarm_of_the_next_try() -> None:
    """A sweep is asked for at its time."""
    assert transitions.put_off(NEW, WAIT, ALARM) == ChangeSet(WAITING, alarms_in=(ALARM,), wake_for=(ALARM,))


def test_what_has_ended_waits_for_nothing() -> None:
    """Its alarm may still have to learn what to stop."""
    ended = replace(NEW, status=Status.CANCELLED)
    assert transitions.put_off(ended, WAIT, ALARM) == ChangeSet(ended, alarms_in=(ALARM,), wake_for=(ALARM,))


def test_the_same_reason_is_not_written_twice() -> None:
    """A run writes it alone, because its alarm is its lease."""
    assert transitions.wait_for(NEW, WAIT) == ChangeSet(WAITING)
    assert transitions.wait_for(WAITING, WAIT) is None


def test_what_waits_in_a_line_is_known_to_its_caller() -> None:
    """Its alarm stands at its deadline, and no sweep is asked for."""
    change = transitions.wait_for_turn(NEW, WAIT, ALARM)
    assert change == ChangeSet(replace(NEW, wait=WAIT, acknowledged=True), alarms_in=(ALARM,))


def test_a_late_answer_binds_what_has_ended() -> None:
    """Its work may still have to be stopped there. What it waits for stays as it was."""
    change = transitions.put_off(ended(NEW), WAIT, ALARM, may_have_begun=True)
    assert (change.record.upstream.bound, change.record.wait) == (True, WaitInfo())


def test_a_try_that_may_have_begun_work_binds() -> None:
    """The response is tried at no other upstream from then on. One that has begun needs no such note."""
    change = transitions.wait_for(NEW, WAIT, may_have_begun=True)
    assert change
    assert change.record.upstream.bound
    assert transitions.put_off(NEW, WAIT, ALARM, may_have_begun=True).record == change.record
    assert transitions.waiting(change.record, WAIT, may_have_begun=False).upstream.bound
    assert not transitions.waiting(RUNNING, WAIT, may_have_begun=True).upstream.bound


def test_a_token_learned_after_the_end_is_stopped() -> None:
    """If the token of a cancelled response becomes known, one change set records it and sets the stop alarm."""
    cancelled = ended(NEW)
    write = transitions.stop_orphan(cancelled, "up_9", "up_9", NOW_MS)
    assert write.record == replace(cancelled, upstream=replace(cancelled.upstream, token="up_9", id="up_9"))
    assert write.alarms_in == write.wake_for == (transitions.stop_alarm(NEW, "up_9", NOW_MS),)


def test_a_second_token_is_stopped_and_the_first_stays() -> None:
    """If an upstream started the work twice, the second work is stopped. The response keeps the first."""
    write = transitions.stop_orphan(RUNNING, "up_2", "up_2", NOW_MS)
    assert write.record == RUNNING
    assert [alarm.token for alarm in write.alarms_in] == ["up_2"]


def test_two_stops_of_one_response_do_not_collide() -> None:
    """The key of a stop alarm has the token's tag, so two of them may be due in the same millisecond."""
    assert transitions.stop_alarm(NEW, "up_1", NOW_MS).key != transitions.stop_alarm(NEW, "up_2", NOW_MS).key


def test_an_announced_end_is_recorded_only_while_it_matters() -> None:
    """An announced end is not recorded twice, nor if the token is known or the response has ended."""
    announced = replace(NEW, upstream=replace(NEW.upstream, end_announced=True))
    assert transitions.announce_end(NEW) == ChangeSet(announced)
    for record in (announced, RUNNING, ended(NEW)):
        assert transitions.announce_end(record) is None


def test_a_stop_goes_to_the_upstream_of_the_response() -> None:
    """By its name, whatever the settings say about the model then."""
    assert transitions.stop_alarm(RUNNING, "up_1", NOW_MS).upstream == "eu"
