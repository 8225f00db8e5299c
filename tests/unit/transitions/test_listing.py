"""What a change set changes in the lists: each response has one entry, which says what its record says."""

from dataclasses import replace

import pytest

from shared.core import ids, keys
from shared.core.changesets import ChangeSet, IndexRow
from shared.core.entries import DeliveryEntry, entry_of
from shared.core.records import Delivery, Record, Target, WaitInfo
from shared.core.states import DeliveryState, Status
from shared.transitions.listing import index_keys, listed

ID = "resp_0123456789abcdef0123456789abcdef"
NEW = Record(ID, "ann", created_ms=1_000, deadline_ms=9_000)
LIVE_KEY, LIST_KEY = (keys.entry_key(range_, ids.tag("ann"), 1_000, ID) for range_ in ("live", "list"))
LIVE, OVER = replace(NEW, listed="live"), replace(NEW, listed="list", status=Status.COMPLETED, ended_ms=2_000)


def test_a_new_response_gets_an_entry() -> None:
    """Its record says so, in the same transaction."""
    assert listed(None, ChangeSet(NEW)) == ChangeSet(LIVE, index_in=(IndexRow(LIVE_KEY, entry_of(NEW)),))


def test_a_response_that_has_ended_when_it_is_accepted_has_an_entry_of_an_ended_one() -> None:
    """There is nothing to take out."""
    ended = replace(OVER, listed="")
    assert listed(None, ChangeSet(ended)) == ChangeSet(OVER, index_in=(IndexRow(LIST_KEY, entry_of(OVER)),))


def test_the_end_moves_the_entry() -> None:
    """It is in one of the two ranges at any time, because the change is one transaction."""
    ended = ChangeSet(replace(OVER, listed="live"), alarms_out=("alarm|1",))
    assert listed(LIVE, ended) == replace(
        ended, record=OVER, index_in=(IndexRow(LIST_KEY, entry_of(OVER)),), index_out=(LIVE_KEY,)
    )


@pytest.mark.parametrize(
    "changed",
    [replace(LIVE, status=Status.IN_PROGRESS), replace(LIVE, wait=WaitInfo("upstream", "status 503", 1, 5, 9))],
    ids=["status", "waiting"],
)
def test_a_change_that_lists_show_changes_the_entry(changed: Record) -> None:
    """The row is there, so it is changed and not inserted."""
    change = ChangeSet(changed)
    assert listed(LIVE, change) == replace(change, index_changes=(IndexRow(LIVE_KEY, entry_of(changed)),))


def test_a_delete_hides_the_entry() -> None:
    """The purge removes it."""
    deleted = ChangeSet(replace(OVER, deleted=True))
    (changed,) = listed(OVER, deleted).index_changes
    assert (changed.key, changed.entry) == (LIST_KEY, entry_of(deleted.record))
    assert changed.entry
    assert changed.entry.hidden


@pytest.mark.parametrize("before", [LIVE, OVER])
def test_what_lists_do_not_show_changes_nothing_in_them(before: Record) -> None:
    """A transaction that only notes something else has no operation more."""
    change = ChangeSet(replace(before, acknowledged=True), alarms_out=("alarm|1",))
    assert listed(before, change) == change


# Responses of other releases


@pytest.mark.parametrize(("old", "key"), [(NEW, LIVE_KEY), (replace(OVER, listed=""), LIST_KEY)])
def test_a_response_of_an_older_release_gets_its_entry_with_its_next_change(old: Record, key: str) -> None:
    """Nothing is taken out, because nothing is there."""
    change = listed(old, ChangeSet(replace(old, acknowledged=True)))
    assert ([row.key for row in change.index_in], change.index_out, change.index_changes) == ([key], (), ())
    assert change.record.listed == key.partition("|")[0]


def test_a_deleted_response_of_an_older_release_gets_none() -> None:
    """Lists do not show it, and its purge is next."""
    deleted = ChangeSet(replace(OVER, listed="", deleted=True))
    assert listed(replace(OVER, listed=""), deleted) == deleted


def test_a_response_that_an_older_release_has_ended_moves_its_entry_with_its_next_change() -> None:
    """The older release keeps `listed` as it is, and knows no entries."""
    ended = replace(OVER, listed="live")
    change = listed(ended, ChangeSet(replace(ended, acknowledged=True)))
    assert ([row.key for row in change.index_in], change.index_out) == ([LIST_KEY], (LIVE_KEY,))


# Deliveries


TRIED = Delivery(Target.CALLBACK, attempt=1, host="hooks.contoso.com")
TRIED_KEY = keys.delivery_key("open", ids.tag("ann"), 2_000, ID, "c")


def test_a_delivery_whose_attempt_has_failed_is_listed_while_it_is_tried() -> None:
    """The row says where it goes. The time is that of the response's end."""
    change = listed(OVER, ChangeSet(replace(OVER, deliveries=(TRIED,))))
    (row,) = change.index_in
    assert (row.key, row.entry) == (TRIED_KEY, DeliveryEntry(ID, "c", 2_000, "ann", "pending", "hooks.contoso.com"))
    assert change.record.deliveries == (replace(TRIED, listed=True),)


@pytest.mark.parametrize(
    "changed",
    [
        replace(TRIED, state=DeliveryState.DELIVERED),
        replace(TRIED, state=DeliveryState.FAILED),
        replace(TRIED, attempt=2, attempts_before=1, schedule=2, sending=True),
        replace(TRIED, attempts_before=1, schedule=2),
    ],
    ids=["delivered", "failed", "begun again", "to be begun again"],
)
def test_a_delivery_that_is_no_longer_tried_after_a_failure_is_not_listed(changed: Delivery) -> None:
    """Its row goes with the transaction that says so."""
    before = replace(OVER, deliveries=(replace(TRIED, listed=True),))
    change = listed(before, ChangeSet(replace(OVER, deliveries=(replace(changed, listed=True),))))
    assert (change.index_in, change.index_out) == ((), (TRIED_KEY,))
    assert change.record.deliveries == (changed,)


@pytest.mark.parametrize(
    "delivery", [replace(TRIED, listed=True), replace(TRIED, sending=True), Delivery(Target.CALLBACK)]
)
def test_any_other_change_leaves_the_row_of_a_delivery_alone(delivery: Delivery) -> None:
    """A second failure changes nothing in it, and a delivery that has had no attempt has none."""
    change = ChangeSet(replace(OVER, deliveries=(delivery,)))
    assert listed(OVER, change) == change


# Purge


def test_a_purge_takes_out_what_lists_and_recoveries_read() -> None:
    """Only what the record says is there, because the removal of a missing row fails the transaction."""
    failed = Delivery(Target.CALLBACK, failure_key="failed|1")
    record = replace(OVER, deliveries=(failed, Delivery(Target.REPLY_QUEUE, listed=True)))
    assert index_keys(record) == ("failed|1", f"{TRIED_KEY[:-1]}q", LIST_KEY)
    record = replace(OVER, deliveries=(failed, Delivery(Target.REPLY_QUEUE)))
    assert index_keys(replace(record, listed="")) == ("failed|1",)
    assert index_keys(NEW) == ()
