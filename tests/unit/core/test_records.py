"""The record: where its event goes, and how one of its deliveries is changed."""

from dataclasses import replace

import pytest

from shared.core.records import Delivery, ExecutionMode, Record, RequestInfo, RunInfo, Target
from shared.core.states import DeliveryState, RunState

FRESH = Record("resp_0123456789abcdef0123456789abcdef", "ann", created_ms=1, deadline_ms=2)


@pytest.mark.parametrize(
    ("callback_url", "reply_to", "targets"),
    [(None, None, ()), ("u", None, ("c",)), (None, "q", ("q",)), ("u", "q", ("c", "q"))],
)
def test_targets_are_those_that_were_asked_for(
    callback_url: str | None, reply_to: str | None, targets: tuple[str, ...]
) -> None:
    """A callback, a reply queue, both or neither."""
    request = RequestInfo(callback_url=callback_url, reply_to=reply_to)
    assert request.targets("response.completed") == targets
    assert [request.address(target) for target in Target] == [callback_url or "", reply_to or ""]


@pytest.mark.parametrize(("event", "targets"), [("response.failed", ("c", "q")), ("response.completed", ("q",))])
def test_a_callback_may_want_some_events_only(event: str, targets: tuple[str, ...]) -> None:
    """The reply queue gets every end: somebody there waits for it."""
    request = RequestInfo(callback_url="u", reply_to="q", callback_events=("response.failed",))
    assert request.targets(event) == targets


def test_a_delivery_is_changed_without_touching_the_other() -> None:
    """Each target has one delivery, found by its name."""
    record = replace(FRESH, deliveries=(Delivery(Target.CALLBACK), Delivery(Target.REPLY_QUEUE)))
    changed = record.with_delivery(Delivery(Target.REPLY_QUEUE, DeliveryState.DELIVERED, 2))
    assert changed.delivery(Target.CALLBACK) == Delivery(Target.CALLBACK)
    assert changed.delivery(Target.REPLY_QUEUE) == Delivery(Target.REPLY_QUEUE, DeliveryState.DELIVERED, 2)
    assert FRESH.delivery(Target.CALLBACK) is None


@pytest.mark.parametrize("state", [state for state in DeliveryState if state is not DeliveryState.PENDING])
def test_only_a_pending_delivery_is_open(state: DeliveryState) -> None:
    """Another attempt may follow while it is pending, and never after."""
    assert Delivery(Target.CALLBACK).is_open
    assert not Delivery(Target.CALLBACK, state).is_open


def test_the_state_of_a_run_follows_from_its_mode_and_its_claim() -> None:
    """A polled response has no run; a run is offered until a process claims it."""
    assert RunInfo().state is RunState.POLLED
    assert RunInfo(ExecutionMode.RUN).state is RunState.OFFERED
    assert RunInfo(ExecutionMode.RUN, claimed=True).state is RunState.HELD


def test_targets_have_a_name_for_people() -> None:
    """Row keys have one letter; callers and operators read words."""
    assert [target.label for target in Target] == ["callback", "reply_queue"]


def test_a_url_does_not_show_in_a_representation() -> None:
    """It may contain the receiver's secrets."""
    assert "secret" not in repr(replace(FRESH, request=RequestInfo(callback_url="https://x.example/?key=secret")))
