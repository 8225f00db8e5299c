"""Runs in place: what is counted and reserved before they begin, and what is taken back."""

from dataclasses import replace

import pytest

from shared.core.records import LogInfo, Record
from shared.core.states import Status
from shared.transitions import response_transitions, run_transitions
from shared.transitions.run_transitions import RESERVED_BLOCK
from tests.unit.transitions.test_run_transitions import BORN_MS, HELD, NEW, NOW_MS, RUN


@pytest.mark.parametrize(("next_seq", "reserved"), [(1, 1 + RESERVED_BLOCK), (0, 0)], ids=["stream", "whole"])
def test_a_run_in_place_is_counted_before_it_begins(next_seq: int, reserved: int) -> None:
    """Its start and its first try are counted, and a stream has its first numbers, but it has not begun."""
    new = replace(NEW, log=LogInfo(next_seq=next_seq, high_water_mark=next_seq))
    accepting = replace(response_transitions.accept(new, b"request", BORN_MS), record=new)
    record = run_transitions.accept_run(accepting, BORN_MS, 30_000, in_place=True).record
    assert (record.upstream.starts, record.upstream.counted, record.upstream.has_begun) == (1, 1, False)
    assert (record.log.next_seq, record.log.high_water_mark, record.run.claimed) == (next_seq, reserved, True)


def presumed(epoch: int) -> Record:
    """Return a run whose first start was counted before it was made."""
    upstream = replace(NEW.upstream, starts=1, counted=1, presumed=True)
    return replace(RUN, run=replace(RUN.run, epoch=epoch), upstream=upstream)


@pytest.mark.parametrize(("epoch", "starts"), [(1, 1), (2, 2)], ids=["first holder", "takeover"])
def test_a_start_that_was_counted_before_is_counted_once(epoch: int, starts: int) -> None:
    """The first holder makes the start that is counted. The start of a later holder is another one."""
    change, _ = run_transitions.record_upstream_start(
        presumed(epoch), epoch, "up_1", Status.IN_PROGRESS, NOW_MS, is_background=False, live=False
    )
    assert change
    assert (change.record.upstream.starts, change.record.upstream.presumed) == (starts, False)
    assert (change.record.upstream.counted, change.record.upstream.has_begun) == (0, True)


def test_a_start_that_was_not_made_is_taken_back_only_by_its_holder() -> None:
    """A holder that hands over knows that nothing has begun. If it has died, nobody knows."""
    record = presumed(1)
    for handed_over in (
        run_transitions.offer(record, HELD, NOW_MS, takes_back=True),
        run_transitions.release(record, NOW_MS, NOW_MS, takes_back=True),
    ):
        upstream = handed_over.record.upstream
        assert (upstream.starts, upstream.counted, upstream.presumed) == (0, 0, False)
    died = run_transitions.offer(record, HELD, NOW_MS, expired=True).record.upstream
    assert (died.starts, died.counted, died.has_begun) == (1, 1, False)
