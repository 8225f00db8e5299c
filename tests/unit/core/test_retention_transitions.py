"""What deleting and purging write."""

from dataclasses import replace

import pytest

from shared.core import retention_transitions as transitions
from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.records import Record, RequestInfo
from shared.core.states import Status

ID = "resp_0123456789abcdef0123456789abcdef"
NOW_MS = 1_800_000_000_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
OVER = Record(ID, "ann", created_ms=1, deadline_ms=2, status=Status.COMPLETED, ended_ms=NOW_MS, purge_key="alarm|purge")


def test_deleting_hides_the_response_and_purges_it_now() -> None:
    """From that write on it is not found, and its rows go at once."""
    purge = Alarm(NOW_MS, Kind.PURGE, ID)
    assert transitions.delete(OVER, NOW_MS) == ChangeSet(
        replace(OVER, deleted=True, purge_key=purge.key),
        alarms_in=(purge,),
        alarms_out=("alarm|purge",),
        wake_for=(purge,),
    )


def test_a_purge_under_way_is_left_alone() -> None:
    """Only the tombstone is written."""
    assert transitions.hide(OVER) == ChangeSet(replace(OVER, deleted=True))


def test_a_deleted_response_is_not_deleted_again() -> None:
    """There is nothing to write."""
    deleted = replace(OVER, deleted=True)
    assert transitions.delete(deleted, NOW_MS) is None
    assert transitions.hide(deleted) is None


def test_a_postponed_purge_keeps_its_only_alarm_known() -> None:
    """The record has the key of the new alarm, so that a delete finds it."""
    later = Alarm(NOW_MS + 600_000, Kind.PURGE, ID)
    expected = ChangeSet(replace(OVER, purge_key=later.key), alarms_in=(later,), wake_for=(later,))
    assert transitions.postpone_purge(OVER, later) == expected


@pytest.mark.parametrize(("store", "kept_ms"), [(True, HOUR_MS), (False, DAY_MS)])
def test_an_open_delivery_keeps_a_response_no_longer_than_this(store: bool, kept_ms: int) -> None:
    """A stored one not beyond its retention, an unstored one for up to a day."""
    record = replace(OVER, request=RequestInfo(store=store))
    assert transitions.kept_until(record, HOUR_MS) == NOW_MS + kept_ms
