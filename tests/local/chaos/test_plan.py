"""The plan of a run of `make chaos`: what it is made of, and that a seed repeats it."""

from local.chaos.plan import CALLS_PER_S, HOSTS, SKEW_S, Faults, Kind, Style, make_plan
from shared.core.alarms import LEASE_MS
from shared.core.alarms import Kind as Alarm

SEED = 4711


def test_a_seed_repeats_the_plan() -> None:
    """The same seed and length give the same faults, calls and clocks. Another seed gives others."""
    assert make_plan(SEED, 60) == make_plan(SEED, 60)
    assert make_plan(SEED, 60) != make_plan(SEED + 1, 60)


def test_every_kind_of_fault_happens_in_the_shortest_run() -> None:
    """Each kind happens before one happens a second time, and the last one leaves time to see what it did."""
    for seed in range(50):
        faults = make_plan(seed, 30).faults
        assert {fault.kind for fault in faults[: len(Kind)]} == set(Kind), seed
        assert max(fault.at_s for fault in faults) < 30


def test_a_long_run_has_every_style_and_long_outages() -> None:
    """Ten minutes have every style of call, at the rate that is stated, and faults that outlast a lease."""
    plan = make_plan(SEED, 600)
    assert {call.style for call in plan.calls} == set(Style)
    assert 0.8 < len(plan.calls) / (600 * CALLS_PER_S) < 1.2
    assert max(fault.lasts_s for fault in plan.faults) > 15


def test_a_long_run_freezes_hosts_for_longer_than_a_lease() -> None:
    """So others take their work over. A short run freezes a host for some seconds."""
    frozen = [fault.lasts_s for fault in make_plan(SEED, 600).faults if fault.kind is Kind.PAUSE]
    assert max(frozen) > LEASE_MS[Alarm.RUN] / 1000
    assert max(fault.lasts_s for fault in make_plan(SEED, 60).faults) <= 6


def test_a_plan_may_say_how_often_faults_come_and_how_long_they_last() -> None:
    """A planted fault shows under few faults, each long enough."""
    faults = make_plan(SEED, 60, Faults([Kind.PAUSE], every_s=20.0, lasts_s=36.0)).faults
    assert [fault.lasts_s for fault in faults] == [36.0, 36.0]
    assert faults[1].at_s - faults[0].at_s < 40


def test_the_clocks_differ_by_five_seconds() -> None:
    """Each host has a clock of its own. The most that two of them differ is what the plan says."""
    skews = make_plan(SEED, 30).skews_s
    assert len(set(skews)) == HOSTS
    assert max(skews) - min(skews) == SKEW_S


def test_faults_that_are_left_out_do_not_happen() -> None:
    """A plan may have only some kinds of faults, or none, and the calls stay the same."""
    assert {fault.kind for fault in make_plan(SEED, 60, Faults([Kind.KILL])).faults} == {Kind.KILL}
    calm = make_plan(SEED, 60, Faults(()))
    assert calm.faults == ()
    assert calm.calls == make_plan(SEED, 60).calls
