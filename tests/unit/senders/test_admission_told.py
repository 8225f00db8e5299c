"""Admission: of which failures in a row an operator is told."""

from shared.core.outcomes import SendError
from shared.senders.admission import AdmissionControl
from tests.support.clocks import Clock
from tests.support.log_capture import WrittenLines, log_lines
from tests.unit.senders.test_admission import ANN, answer, attempt


async def test_the_fourth_failure_in_a_row_of_a_host_is_logged(written: WrittenLines) -> None:
    """An operator hears of it once, before the breaker opens."""
    control = AdmissionControl(Clock().now_ms)
    await attempt(control, 503, times=3)
    assert log_lines(written, "warning") == []
    await attempt(control, 503)
    told = {"event": "callbacks.failing", "caller": "ann", "host": "hooks.contoso.com"}
    assert log_lines(written, "warning") == [told]
    await attempt(control, 204)
    await attempt(control, 503, times=4)
    assert log_lines(written, "warning") == [told, told]


async def test_the_fourth_attempt_of_a_delivery_is_logged_in_whichever_process(written: WrittenLines) -> None:
    """Its number is stored, so four processes that each see one failure tell it once."""
    for number in range(1, 5):
        control = AdmissionControl(Clock().now_ms)
        async with control.admit(ANN, first=number == 1, patience_s=0) as admission:
            admission.number, admission.answer = number, answer(SendError.CONNECT)
    assert log_lines(written, "warning") == [{"event": "callbacks.failing", "caller": "ann", "host": ANN.host}]


async def test_refusals_of_a_receiver_are_logged_and_leave_the_breaker_closed(written: WrittenLines) -> None:
    """A receiver that has lost its secret answers 401 to all, and has no event."""
    control = AdmissionControl(Clock().now_ms)
    await attempt(control, 401, times=8)
    assert log_lines(written, "warning") == [{"event": "callbacks.failing", "caller": "ann", "host": ANN.host}]
