"""The benchmark of deliveries and upstream webhooks: what it computes, and that its runs measure something."""

from contextlib import aclosing
from dataclasses import replace

import pytest

from local.bench.deliveries.black_hole import Size, black_hole, time_beside_hole
from local.bench.deliveries.lines import NEVER, Beside, Sent, black_hole_lines, callback_lines, delivered, waits_ms
from local.bench.deliveries.sender import time_deliveries
from local.bench.loads.driver import Driver
from local.bench.loads.stage import stage
from local.bench.meters.figures import Callback, Observed, Submission, Usage, figures
from local.bench.plots.report import table
from shared.core.outcomes import SendError
from shared.senders.callbacks import CallbackSender

OBSERVED = Observed(
    submissions=[Submission(10.0, 10.1, "resp_a"), Submission(10.1, 10.2, "resp_b"), Submission(10.2, 10.3, "resp_c")],
    completions={"resp_a": 1000.0, "resp_b": 1000.5, "resp_c": 1003.0},
    callbacks=[Callback("resp_b", 1000.54), Callback("resp_a", 1000.08)],
    upstream_calls=6,
    started_twice=0,
    usage=Usage(host_cpu_s=0.06, azurite_cpu_s=0.03, host_peak_bytes=64 * 2**20),
    load_average=0.5,
)
AT_ONCE = Sent(deliveries=1000, taken=998, connections=1000, took_s=2.0, cpu_s=1.5)
SLOWLY = Sent(deliveries=400, taken=400, connections=400, took_s=4.0, cpu_s=0.8)


def _line(shown: str, label: str) -> list[str]:
    return next(line.removeprefix(label).split() for line in shown.splitlines() if line.startswith(label))


def test_the_page_shows_deliveries_per_second() -> None:
    """Only accepted deliveries count. The CPU time is per attempted delivery."""
    shown = table(delivered(AT_ONCE, SLOWLY))
    assert _line(shown, "taken, of those sent") == ["998", "of", "1000", "400", "of", "400", "all"]
    assert _line(shown, "deliveries per second") == ["499", "100", ">=", "100"]
    assert _line(shown, "CPU of the sender, per delivery") == ["1.5", "ms", "2.0", "ms"]


def test_a_wait_is_from_a_completion_to_its_first_callback() -> None:
    """There is one wait per submission, in order.

    It is infinite without a callback, and for a response that was not accepted.
    """
    submissions = [Submission(0, 1, name) for name in ("resp_b", None, "resp_a", "resp_c")]
    completions = {"resp_a": 1000.0, "resp_b": 1000.5, "resp_c": 1001.0, "resp_d": 1000.0}
    callbacks = [Callback(*one) for one in (("resp_a", 1000.25), ("resp_b", 1001.0), ("resp_a", 1009.0))]
    assert waits_ms(submissions, completions, callbacks) == [500, NEVER, 250, NEVER]


def test_the_page_shows_how_a_black_hole_affects_other_hosts() -> None:
    """The page compares callback times with and without a black hole.

    The p95 may double, and a missing callback counts as infinite.
    """
    shown = table(black_hole_lines(Beside([10.0] * 10 + [20.0] * 10, [15.0] * 10 + [25.0] * 9 + [NEVER])))
    assert _line(shown, "callbacks received, of all to this host") == ["20", "of", "20", "19", "of", "20", "all"]
    assert _line(shown, "completion to callback, p50") == ["10", "ms", "15", "ms"]
    assert _line(shown, "completion to callback, p95") == ["20", "ms", "25", "ms"]
    assert _line(shown, "ratio to the run without a black hole") == ["1.2", "<", "2"]
    assert _line(shown, "p95 in the second half of the run") == ["20", "ms", "inf", "ms"]


@pytest.mark.parametrize(("well_ms", "hole_ms", "ratio"), [([], [], "-"), ([NEVER], [1], "-"), ([1], [NEVER], "inf")])
def test_missing_callbacks_make_the_ratio_infinite(well_ms: list[float], hole_ms: list[float], ratio: str) -> None:
    """A missing callback makes the ratio infinite. Without a finite value to compare with, it is a dash."""
    shown = table(black_hole_lines(Beside(well_ms, hole_ms)))
    assert _line(shown, "ratio to the run without a black hole") == [ratio, "<", "2"]


def test_the_page_shows_how_soon_an_upstream_webhook_causes_a_callback() -> None:
    """The page shows the time from completion to callback, and how many accepted responses were called back."""
    shown = table(callback_lines(figures(OBSERVED)))
    assert _line(shown, "completion to callback") == ["40", "ms", "80", "ms", "p50", "<", "150", "ms"]
    assert _line(shown, "callbacks received, of all accepted") == ["2", "of", "3", "all"]
    assert _line(shown, "upstream calls per response") == ["2.00"]
    nothing = replace(OBSERVED, submissions=[], completions={}, callbacks=[])
    assert _line(table(callback_lines(figures(nothing))), "upstream calls per response") == ["-"]


@pytest.mark.parametrize("answer_s", [0, 0.1])
def test_the_run_of_deliveries_uses_a_new_connection_for_each(answer_s: float) -> None:
    """The sender trusts the receiver's certificate, and at most 24 deliveries wait for their answers at once."""
    sent = time_deliveries(48, answer_s)
    assert (sent.deliveries, sent.taken, sent.connections) == (48, 48, 48)
    assert sent.took_s >= 2 * answer_s
    assert sent.cpu_s > 0


async def test_a_black_hole_accepts_everything_and_never_answers() -> None:
    """A sender that may call loopback addresses times out on every attempt."""
    sender = CallbackSender(allow_loopback=True, deadline_s=0.2)
    async with black_hole() as url, aclosing(sender):
        answers = [await sender.post(f"{url}/callback", {}, b"{}") for _ in range(2)]
    assert [answer.error for answer in answers] == [SendError.TIMEOUT, SendError.TIMEOUT]


def test_the_run_beside_a_black_hole_measures_the_other_callbacks() -> None:
    """In a small run on the real stack, the half that goes to the receiver arrives, whatever the other host does."""
    seen = time_beside_hole(Size(count=8, per_s=20))
    assert (len(seen.well_ms), len(seen.hole_ms)) == (4, 4)
    assert all(0 < one < NEVER for one in (*seen.well_ms, *seen.hole_ms))


async def test_on_a_stage_with_webhooks_the_model_sends_them_to_the_host() -> None:
    """The model sends a webhook for each end. The callback is sent in any case."""
    with stage(tapped=False, webhooks=True) as running:
        async with Driver(running.target) as driver:
            await driver.submit("sim-0.1s")
            await driver.await_callbacks()
            assert len(await driver.callbacks()) == 1
            assert (await driver.stats())["webhooks_sent"] >= 1
