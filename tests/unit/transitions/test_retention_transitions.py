"""What deleting and purging a response write."""

from dataclasses import replace

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.records import Record, RequestInfo
from shared.core.states import Status
from shared.transitions import retention_transitions as transitions

ID = "resp_0123456789abcdef0123456789abcdef"
NOW_MS = 1_800_000_000_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
OVER = Record(ID, "ann", created_ms=1, deadline_ms=2, status=Status.COMPLETED, ended_ms=NOW_MS, purge_key="alarm|purge")


def test_deleting_hides_the_response_and_purges_it_now() -> None:
    """A deleted response is not found from then on. Its purge is due at once."""
    purge = Alarm(NOW_MS, Kind.PURGE, ID)
    assert transitions.delete(OVER, NOW_MS) == ChangeSet(
        replace(OVER, deleted=True, purge_key=purge.key),
        alarms_in=(purge,),
        alarms_out=("alarm|purge",),
        wake_for=(purge,),
    )


def test_a_purge_that_is_under_way_is_left_alone() -> None:
    """A delete during the purge writes only the tombstone."""
    assert transitions.hide(OVER) == ChangeSet(replace(OVER, deleted=True))


def test_a_purge_hides_what_it_removes_in_several_steps() -> None:
    """The record says that it was not its caller who has deleted it."""
    assert transitions.expire(OVER) == ChangeSet(replace(OVER, deleted=True, expired=True))


def test_a_deleted_response_is_not_deleted_again() -> None:
    """A second delete writes nothing, and nor does the purge."""
    deleted = replace(OVER, deleted=True)
    assert transitions.expire(deleted) is None
    assert transitions.delete(deleted, NOW_MS) is None
    assert transitions.hide(deleted) is None


def test_a_postponed_purge_records_its_new_alarm() -> None:
    """The record has the key of the new alarm, so a delete finds it."""
    later = Alarm(NOW_MS + 600_000, Kind.PURGE, ID)
    expected = ChangeSet(replace(OVER, purge_key=later.key), alarms_in=(later,), wake_for=(later,))
    assert transitions.postpone_purge(OVER, later) == expected


@pytest.mark.parametrize(("store", "kept_ms"), [(True, HOUR_MS), (False, DAY_MS)])
def test_an_open_delivery_keeps_a_response_for_a_limited_time(store: bool, kept_ms: int) -> None:
    """An open delivery keeps a stored response no longer than its retention, and one that is not stored up to a day."""
    record = replace(OVER, request=RequestInfo(store=store))
    assert transitions.kept_until(record, HOUR_MS) == NOW_MS + kept_ms
