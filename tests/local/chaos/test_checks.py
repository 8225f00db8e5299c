"""The checks of `make chaos`, each shown what it must find and what it must let pass."""

from typing import Any

import pytest

from local.chaos.audit.rows import Rows, check_leases, check_permits, check_rows, open_work
from local.chaos.load.ledger import Ledger
from local.chaos.load.reader import contradiction, text_of, trouble
from shared.core import keys

ID = "resp_" + "0" * 32
OTHER = "resp_" + "1" * 32
FAR_MS = 9_000_000_000_000


def event(number: int, kind: str = "response.output_text.delta", delta: str = "") -> dict[str, Any]:
    """Return an event of a stream."""
    return {"sequence_number": number, "type": kind, "delta": delta}


def rows(*others: str, **changes: Any) -> Rows:
    """Return the rows of one response that has ended, with changes of its record and more rows."""
    found = Rows()
    purge = keys.alarm_key(FAR_MS, "purge", ID)
    record = {"purge": purge, "created_ms": 0, "ended_ms": 1_000}
    listed = keys.entry_key("list", "0" * 16, 0, ID)
    found.add({"RowKey": keys.record_key(ID), "facts": record | changes, "status": changes.get("status", "completed")})
    for key in (purge, listed, *others):
        found.add({"RowKey": key})
    return found


def broken(found: Rows) -> set[str]:
    """Return the names of the checks that these rows break."""
    ledger = Ledger()
    check_rows(ledger, found)
    check_permits(ledger, found, [])
    return {name for name, count in ledger.broken.items() if count}


def test_rows_of_an_ended_response_break_nothing() -> None:
    """A record with its purge alarm and its entry in the list is complete."""
    assert broken(rows()) == set()
    assert open_work(rows()) == []


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (keys.child_key(OTHER, "input|00"), "no row without owner"),
        (keys.alarm_key(FAR_MS, "purge", OTHER), "no row without owner"),
        (keys.alarm_key(1, "purge", ID), "nothing is overdue"),
        (keys.alarm_key(1, "poll", ID), "no work is left"),
        (f"live|{'0' * 16}|0000000000001|{ID}", "no work is left"),
        (f"hold|{ID}", "no permit is kept"),
        (keys.entry_key("list", "0" * 16, 1, ID), "every response is listed once"),
    ],
)
def test_a_row_too_many_is_found(key: str, name: str) -> None:
    """Rows of others that are gone, alarms that are overdue, and work that is left."""
    assert name in broken(rows(key))


@pytest.mark.parametrize(
    ("span", "expected"), [((990.0, 996.0), 0), ((1_019.0, 1_030.0), 0), ((900.0, 994.0), 1), ((1_021.0, 1_022.0), 1)]
)
def test_a_kept_permit_is_excused_by_a_fault_at_the_end_of_its_response(
    span: tuple[float, float], expected: int
) -> None:
    """The process may have died before it gave the permit back. A fault at another time excuses nothing."""
    ledger, found = Ledger(), rows(f"hold|{ID}", ended_ms=1_000_000)
    found.used = 1
    check_permits(ledger, found, [span])
    assert sum(ledger.broken.values()) == expected


def test_an_open_delivery_needs_an_alarm() -> None:
    """A delivery that is pending without an alarm would never be made."""
    open_delivery = {"deliveries": [{"target": "c"}]}
    assert broken(rows(**open_delivery)) == {"every open delivery has its alarm"}
    assert broken(rows(keys.alarm_key(FAR_MS, "deliver", ID, "c"), **open_delivery)) == set()


def test_a_missing_purge_alarm_and_an_unfinished_record_are_found() -> None:
    """Nothing may be kept for ever, and nothing may stay without an end."""
    assert broken(rows(purge="alarm|other")) == {"every end has its purge alarm"}
    assert broken(rows(status="queued")) == {"every record has ended"}


def test_a_lease_that_lapses_in_calm_is_found() -> None:
    """A lapse is excused by a fault within the minute before it, and by nothing else."""
    run = rows(mode="run")
    for spans, expected in (([], 1), ([(880.0, 960.0)], 0), ([(500.0, 501.0)], 1), ([(1_001.0, 1_002.0)], 1)):
        ledger = Ledger()
        check_leases(ledger, run, [(ID, 1_000.0)], spans)
        assert sum(ledger.broken.values()) == expected


def test_a_terminal_response_that_changes_is_found() -> None:
    """Another status, another text and a return to work are each a violation. The same object again is none."""
    done = {"id": ID, "status": "completed", "output": [], "usage": {"input_tokens": 1}}
    for then, expected in ((done, 0), (done | {"status": "cancelled"}, 1), (done | {"usage": None}, 1)):
        ledger = Ledger()
        ledger.saw(done)
        ledger.saw(then)
        assert len(ledger.violations) == expected
    assert ledger.saw({"id": ID, "status": "in_progress"}) is False
    assert len(ledger.violations) == 2


def test_numbers_that_repeat_or_jump_are_found() -> None:
    """Numbers grow. They may jump only to a restart or to the end."""
    assert trouble([event(0), event(1), event(2)]) == ""
    assert trouble([event(0), event(7, "response.in_progress"), event(9, "response.completed")]) == ""
    assert trouble([event(0), event(0)]) == "0 after 0"
    assert trouble([event(0), event(2)]).startswith("a jump from 0 to 2")
    assert trouble([event(5)], after=3).startswith("a jump from 3 to 5")


def test_readers_that_saw_different_events_contradict_each_other() -> None:
    """After the last restart, one number is one event. What a restart voids is not compared."""
    restart = event(3, "response.in_progress")
    first = [event(1, delta="a"), event(2, delta="b"), restart, event(4, delta="c")]
    assert contradiction(first, [restart, event(4, delta="c")]) == ""
    assert contradiction(first, [restart, event(4, delta="d")]).startswith("event 4 is")
    assert text_of(first) == "c"
