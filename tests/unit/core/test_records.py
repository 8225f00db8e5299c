"""The record: the targets of its event, and changes of one delivery."""

from dataclasses import replace

import pytest

from shared.core.records import Delivery, ExecutionMode, Record, RequestInfo, RunInfo, Target, UpstreamInfo, WaitInfo
from shared.core.states import DeliveryState, RunState, WaitReason

FRESH = Record("resp_0123456789abcdef0123456789abcdef", "ann", created_ms=1, deadline_ms=2)


@pytest.mark.parametrize(
    ("callback_url", "reply_to", "targets"),
    [(None, None, ()), ("u", None, ("c",)), (None, "q", ("q",)), ("u", "q", ("c", "q"))],
)
def test_targets_are_those_of_the_request(
    callback_url: str | None, reply_to: str | None, targets: tuple[str, ...]
) -> None:
    """A request may name a callback, a reply queue, both or neither."""
    request = RequestInfo(callback_url=callback_url, reply_to=reply_to)
    assert request.targets("response.completed") == targets
    assert [request.address(target) for target in Target] == [callback_url or "", reply_to or ""]


@pytest.mark.parametrize(("event", "targets"), [("response.failed", ("c", "q")), ("response.completed", ("q",))])
def test_a_callback_may_be_limited_to_some_events(event: str, targets: tuple[str, ...]) -> None:
    """A reply queue gets every terminal event, because a client is waiting there for it."""
    request = RequestInfo(callback_url="u", reply_to="q", callback_events=("response.failed",))
    assert request.targets(event) == targets


def test_a_change_of_one_delivery_leaves_the_other_unchanged() -> None:
    """Each target has one delivery, found by the target's name."""
    record = replace(FRESH, deliveries=(Delivery(Target.CALLBACK), Delivery(Target.REPLY_QUEUE)))
    changed = record.with_delivery(Delivery(Target.REPLY_QUEUE, DeliveryState.DELIVERED, 2))
    assert changed.delivery(Target.CALLBACK) == Delivery(Target.CALLBACK)
    assert changed.delivery(Target.REPLY_QUEUE) == Delivery(Target.REPLY_QUEUE, DeliveryState.DELIVERED, 2)
    assert FRESH.delivery(Target.CALLBACK) is None


def test_a_reason_that_stays_keeps_its_time_and_counts_its_tries() -> None:
    """Another reason begins anew, and without one the response waits for its work."""
    first = WaitInfo().after(WaitReason.UPSTREAM_DOWN, "status 503", 10, 20)
    assert first == WaitInfo("upstream_down", "status 503", 1, 10, 20)
    again = first.after(WaitReason.UPSTREAM_DOWN, "ConnectError", 30, 40)
    assert again == WaitInfo("upstream_down", "ConnectError", 2, 10, 40)
    assert again.after(WaitReason.RATE_LIMIT, "status 429", 50) == WaitInfo("rate_limit", "status 429", 1, 50, 0)
    assert again.after(None, "", 60, 70) == WaitInfo()


def test_the_id_of_the_upstream_changes_nothing_else() -> None:
    """A record that has the id is not copied."""
    record = replace(FRESH, upstream=UpstreamInfo(token="t", starts=1))
    named = record.with_upstream_id("up_1")
    assert named == replace(record, upstream=UpstreamInfo(token="t", id="up_1", starts=1))
    assert named.with_upstream_id("up_1") is named


@pytest.mark.parametrize("state", [state for state in DeliveryState if state is not DeliveryState.PENDING])
def test_only_a_pending_delivery_is_open(state: DeliveryState) -> None:
    """A delivery may be attempted again only while it is pending."""
    assert Delivery(Target.CALLBACK).is_open
    assert not Delivery(Target.CALLBACK, state).is_open


def test_the_state_of_a_run_depends_on_its_mode_and_claim() -> None:
    """A polled response has no run. A run is offered until a process claims it."""
    assert RunInfo().state is RunState.POLLED
    assert RunInfo(ExecutionMode.RUN).state is RunState.OFFERED
    assert RunInfo(ExecutionMode.RUN, claimed=True).state is RunState.HELD


def test_targets_have_readable_names() -> None:
    """Row keys have one letter per target. Callers and operators read words."""
    assert [target.label for target in Target] == ["callback", "reply_queue"]


def test_a_callback_url_is_not_shown_in_the_repr() -> None:
    """A callback URL may contain secrets of the receiver."""
    assert "secret" not in repr(replace(FRESH, request=RequestInfo(callback_url="https://x.example/?key=secret")))
