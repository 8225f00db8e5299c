"""Admission: which attempts may be made now, what a circuit breaker learns from them, and the two bulkheads."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from shared.core.outcomes import Answer, SendError
from shared.senders.admission import MAX_FIRSTS, MAX_RETRIES, AdmissionControl, CircuitOpen, Outlook
from shared.senders.bulkhead import NoCapacity
from shared.senders.circuit_breaker import FAILURES_IN_A_ROW, OPEN_MS, PROBE_MS, BreakerKey
from tests.support.clocks import Clock
from tests.support.log_capture import WrittenLines, log_lines

ANN = BreakerKey("ann", "hooks.contoso.com")
Outcome = int | SendError | None

FAILURES: list[Outcome] = [408, 429, 500, 503, SendError.TIMEOUT, SendError.DNS, SendError.CONNECT, SendError.TLS]
SUCCESSES: list[Outcome] = [200, 204, 302, 400, 404, 410]
NEITHER: list[Outcome] = [None, SendError.ADDRESS_REFUSED, SendError.URL_REFUSED, SendError.UNSIGNED]


def answer(outcome: Outcome) -> Answer | None:
    """Return the answer to an attempt, or None if there was no attempt."""
    if outcome is None:
        return None
    error = outcome if isinstance(outcome, SendError) else None
    return Answer(None if error else int(outcome), error, None, duration_ms=1)


async def attempt(
    control: AdmissionControl, outcome: Outcome, key: BreakerKey = ANN, *, first: bool = True, times: int = 1
) -> None:
    """Make attempts one after the other, each with this outcome."""
    for _ in range(times):
        async with control.admit(key, first=first, patience_s=0) as admission:
            admission.answer = answer(outcome)


async def opened(clock: Clock) -> AdmissionControl:
    """Return a control whose breaker for Ann's host has just opened."""
    control = AdmissionControl(clock.now_ms)
    await attempt(control, 503, times=FAILURES_IN_A_ROW)
    return control


async def refused_until_ms(control: AdmissionControl, key: BreakerKey = ANN) -> int | None:
    """Return the time until which attempts are refused, or None if one was admitted. It learns nothing."""
    try:
        await attempt(control, None, key)
    except CircuitOpen as refusal:
        return refusal.until_ms
    return None


async def take(control: AdmissionControl, count: int, *, first: bool) -> AsyncExitStack:
    """Admit so many attempts, each of another caller to another host. Closing the result ends all unanswered."""
    held = AsyncExitStack()
    for number in range(count):
        key = BreakerKey(f"caller-{number}", f"{number}.contoso.com")
        await held.enter_async_context(control.admit(key, first=first, patience_s=0))
    return held


# The circuit breaker


@pytest.mark.parametrize("outcome", FAILURES)
async def test_failures_of_a_host_open_its_breaker(outcome: Outcome) -> None:
    """After five answers in a row that show trouble, no attempt is admitted for 30 s."""
    clock = Clock()
    control = AdmissionControl(clock.now_ms)
    await attempt(control, outcome, times=FAILURES_IN_A_ROW - 1)
    assert await refused_until_ms(control) is None
    await attempt(control, outcome)
    assert await refused_until_ms(control) == clock.ms + OPEN_MS
    clock.ms += OPEN_MS
    assert await refused_until_ms(control) is None


@pytest.mark.parametrize("outcome", SUCCESSES)
async def test_a_success_or_a_refusal_of_the_request_resets_the_failures(outcome: Outcome) -> None:
    """The host answers, so it is not in trouble. Failures before that do not count."""
    control = AdmissionControl(Clock().now_ms)
    await attempt(control, 503, times=FAILURES_IN_A_ROW - 1)
    await attempt(control, outcome)
    await attempt(control, 503, times=FAILURES_IN_A_ROW - 1)
    assert await refused_until_ms(control) is None


@pytest.mark.parametrize("outcome", NEITHER)
async def test_an_attempt_that_shows_nothing_about_the_host_is_not_counted(outcome: Outcome) -> None:
    """Such an attempt neither opens a breaker nor resets the failures in a row."""
    control = AdmissionControl(Clock().now_ms)
    await attempt(control, outcome, times=2 * FAILURES_IN_A_ROW)
    await attempt(control, 503, times=FAILURES_IN_A_ROW - 1)
    await attempt(control, outcome)
    assert await refused_until_ms(control) is None
    await attempt(control, 503)
    assert await refused_until_ms(control)


@pytest.mark.parametrize("other", [BreakerKey("bob", ANN.host), BreakerKey(ANN.caller, "other.contoso.com")])
async def test_another_caller_and_another_host_are_still_admitted(other: BreakerKey) -> None:
    """A breaker affects one caller's attempts to one host."""
    assert await refused_until_ms(await opened(Clock()), other) is None


async def test_one_probe_is_admitted_after_the_pause() -> None:
    """Further attempts are refused until the probe has an answer. A success admits all attempts."""
    clock = Clock()
    control = await opened(clock)
    clock.ms += OPEN_MS
    async with control.admit(ANN, first=False, patience_s=0) as probe:
        assert await refused_until_ms(control) == clock.ms + PROBE_MS
        probe.answer = answer(200)
    assert await refused_until_ms(control) is None
    await attempt(control, 503, times=FAILURES_IN_A_ROW - 1)
    assert await refused_until_ms(control) is None


async def test_a_failed_probe_doubles_the_pause() -> None:
    """The failure of a probe opens the breaker at once, for a minute."""
    clock = Clock()
    control = await opened(clock)
    clock.ms += OPEN_MS
    await attempt(control, SendError.TIMEOUT)
    assert await refused_until_ms(control) == clock.ms + 2 * OPEN_MS


@pytest.mark.parametrize("raised", [ConnectionError(), asyncio.CancelledError(), NoCapacity()])
async def test_a_probe_that_was_not_sent_lets_another_be_the_probe(raised: BaseException) -> None:
    """If the block raises before there is an answer, the exception passes through and nothing is counted."""
    clock = Clock()
    control = await opened(clock)
    clock.ms += OPEN_MS
    with pytest.raises(type(raised)):
        async with control.admit(ANN, first=True, patience_s=0):
            raise raised
    assert await refused_until_ms(control) is None


async def test_an_answer_counts_even_if_the_block_then_raises() -> None:
    """A failure to record an attempt does not hide what the attempt has shown about the host."""
    control = AdmissionControl(Clock().now_ms)

    async def send_and_fail() -> None:
        async with control.admit(ANN, first=True, patience_s=0) as admission:
            admission.answer = answer(503)
            raise ConnectionError

    for _ in range(FAILURES_IN_A_ROW):
        with pytest.raises(ConnectionError):
            await send_and_fail()
    assert await refused_until_ms(control)


async def test_a_breaker_that_opens_is_logged_once(written: WrittenLines) -> None:
    """The warning names the caller, the host and the pause in seconds. Refused attempts add no line."""
    clock = Clock()
    control = await opened(clock)
    await refused_until_ms(control)
    clock.ms += OPEN_MS
    await attempt(control, 500)
    named = {"event": "breaker.opened", "caller": "ann", "host": "hooks.contoso.com"}
    told = [line for line in log_lines(written, "warning") if line["event"] != "callbacks.failing"]
    assert told == [named | {"seconds": 30}, named | {"seconds": 60}]


# The bulkheads


async def test_first_attempts_do_not_wait_behind_retries() -> None:
    """There are 24 slots for first attempts and 12 others for retries. One kind may be full while the other is free."""
    assert (MAX_FIRSTS, MAX_RETRIES) == (24, 12)
    for first, slots in ((True, MAX_FIRSTS), (False, MAX_RETRIES)):
        control = AdmissionControl(Clock().now_ms)
        async with await take(control, slots, first=first):
            with pytest.raises(NoCapacity):
                await attempt(control, 200, first=first)
            await attempt(control, 200, first=not first)
        await attempt(control, 200, first=first)


async def test_a_silent_host_gets_a_quarter_of_the_slots_from_all_callers() -> None:
    """Callers share the slots of a host, because it is the same receiver for all of them."""
    control = AdmissionControl(Clock().now_ms)
    async with AsyncExitStack() as held:
        for caller in "abcdef":
            await held.enter_async_context(control.admit(BreakerKey(caller, ANN.host), first=True, patience_s=0))
        with pytest.raises(NoCapacity):
            await attempt(control, 200, BreakerKey("g", ANN.host))
        await attempt(control, 200, BreakerKey("g", "other.contoso.com"))


async def test_an_attempt_waits_for_a_slot() -> None:
    """An attempt with patience is admitted as soon as another one ends."""
    control = AdmissionControl(Clock().now_ms)
    held = await take(control, MAX_RETRIES, first=False)

    async def wait() -> None:
        async with control.admit(ANN, first=False, patience_s=30):
            return

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    await held.aclose()
    async with asyncio.timeout(10):
        await waiting


async def test_an_open_breaker_refuses_before_a_slot_is_looked_for() -> None:
    """An attempt to a host in trouble does not wait for a slot that it could not use."""
    control = await opened(Clock())
    async with await take(control, MAX_FIRSTS, first=True):
        async with asyncio.timeout(10):
            with pytest.raises(CircuitOpen):
                async with control.admit(ANN, first=True, patience_s=30):
                    pytest.fail("it was admitted")


async def test_a_probe_without_a_slot_lets_another_be_the_probe() -> None:
    """A probe that finds no slot within its patience was not sent."""
    clock = Clock()
    control = await opened(clock)
    clock.ms += OPEN_MS
    async with await take(control, MAX_RETRIES, first=False):
        with pytest.raises(NoCapacity):
            await attempt(control, 200, first=False)
    assert await refused_until_ms(control) is None


@pytest.mark.parametrize(
    ("outcome", "free"), [(200, True), (503, True), (SendError.CONNECT, True), (SendError.TIMEOUT, False)]
)
async def test_any_sign_of_a_host_gives_it_the_free_slots(outcome: Outcome, free: bool) -> None:
    """A host whose last attempt timed out has a quarter of the slots. Any other outcome gives it all that are free."""
    control = AdmissionControl(Clock().now_ms)
    async with AsyncExitStack() as held:
        for _ in range(5):
            await held.enter_async_context(control.admit(ANN, first=True, patience_s=0))
        await attempt(control, outcome)
        await held.enter_async_context(control.admit(ANN, first=True, patience_s=0))
        if not free:
            with pytest.raises(NoCapacity):
                await attempt(control, None)
            return
        for _ in range(MAX_FIRSTS - 6):
            await held.enter_async_context(control.admit(ANN, first=True, patience_s=0))


# The outlook


async def test_the_outlook_of_an_open_breaker_is_its_time_and_takes_no_probe() -> None:
    """However often it is asked for, the next attempt is still the probe. Another attempt must wait for the probe."""
    clock = Clock()
    control = await opened(clock)
    assert control.outlook(ANN, first=True) == Outlook(clock.ms + OPEN_MS, is_long=False, is_free=True)
    clock.ms += OPEN_MS
    for _ in range(3):
        assert control.outlook(ANN, first=True) == Outlook(0, is_long=False, is_free=True)
    async with control.admit(ANN, first=True, patience_s=0):
        assert control.outlook(ANN, first=True) == Outlook(clock.ms + PROBE_MS, is_long=False, is_free=True)


async def test_the_outlook_tells_a_long_line_of_each_kind() -> None:
    """Retries wait for a host that gives no slot back. First attempts to the same host would begin at once."""
    control = AdmissionControl(Clock().now_ms)
    async with AsyncExitStack() as held:
        for _ in range(MAX_RETRIES // 4):
            await held.enter_async_context(control.admit(ANN, first=False, patience_s=0))
        with pytest.raises(NoCapacity):
            async with control.admit(ANN, first=False, patience_s=30):
                pytest.fail("it was admitted")
        assert control.outlook(ANN, first=False) == Outlook(0, is_long=True, is_free=False)
        assert control.outlook(ANN, first=True) == Outlook(0, is_long=False, is_free=True)
