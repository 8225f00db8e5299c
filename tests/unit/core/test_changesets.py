"""Change sets: what they contain by default, how an alarm is removed with one, and what they do not reveal."""

from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet, IndexRow, Row
from shared.core.records import Record, RequestInfo

ID = "resp_0123456789abcdef0123456789abcdef"
RECORD = Record(ID, "ann", created_ms=1, deadline_ms=2)
STOP = Alarm(3, Kind.STOP, ID)
PURGE = Alarm(4, Kind.PURGE, ID)
FULL = ChangeSet(
    RECORD,
    alarms_in=(PURGE,),
    alarms_out=("alarm|1",),
    rows=(Row("body|00", {"p0": b"output"}),),
    index_in=(IndexRow("failed|1"),),
    index_out=("failed|2",),
    writes_body=True,
    wake_for=(PURGE,),
    offers_run=True,
    attributes={"response_model": "m"},
)


def test_a_change_set_with_only_a_record_writes_nothing_else() -> None:
    """By default no row beside the record changes, the body is not written, and no message is sent."""
    change = ChangeSet(RECORD)
    assert not any(getattr(change, field.name) for field in fields(change) if field.name != "record")


def test_an_alarm_is_removed_by_its_row_key() -> None:
    """The removal is added to the change set, which keeps everything else."""
    assert FULL.removing(STOP) == replace(FULL, alarms_out=("alarm|1", STOP.key))


@given(st.lists(st.integers(0, 9_999_999_999_999)))
def test_removals_add_up(times: list[int]) -> None:
    """Several alarms can be removed one after the other. No removal replaces an earlier one."""
    alarms = [Alarm(due_ms, Kind.RUN, ID) for due_ms in times]
    change = FULL
    for alarm in alarms:
        change = change.removing(alarm)
    assert change.alarms_out == ("alarm|1", *(alarm.key for alarm in alarms))
    assert FULL.alarms_out == ("alarm|1",)


def test_without_an_alarm_nothing_is_removed() -> None:
    """A step whose alarm is gone already uses the change set as it is."""
    assert FULL.removing(None) is FULL


def test_attributes_do_not_make_change_sets_different() -> None:
    """Attributes are for telemetry and are not written. Any other difference counts."""
    assert replace(FULL, attributes={}) == FULL
    assert replace(FULL, offers_run=False) != FULL


def test_the_repr_of_a_change_set_shows_no_content() -> None:
    """A change set may end up in a log. Its repr shows keys, and nothing that a caller or an upstream has written."""
    record = replace(RECORD, body=b"geheim", request=RequestInfo(callback_url="https://example.com/geheim"))
    change = replace(FULL, record=record, rows=(Row("input|00", {"p0": b"geheim"}),))
    assert "input|00" in repr(change)
    assert "geheim" not in repr(change)
