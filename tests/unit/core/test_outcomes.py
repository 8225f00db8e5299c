"""What the answer to an attempt says about the receiver's host."""

import pytest

from shared.core.outcomes import Answer, SendError


def answer(status: int | None, error: SendError | None = None) -> Answer:
    """Return the answer to one attempt."""
    return Answer(status, error, retry_after=None, duration_ms=1)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_overload_and_server_errors_are_failures_of_the_host(status: int) -> None:
    """The circuit breaker counts an overload status or a 5xx as a failure of the host."""
    assert answer(status).host_failed is True


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 404, 410, 413, 425])
def test_a_host_that_refuses_a_callback_is_not_failing(status: int) -> None:
    """A refusal closes the circuit, as a success does, because the receiver answered."""
    assert answer(status).host_failed is False


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (SendError.CONNECT, True),
        (SendError.TLS, True),
        (SendError.TIMEOUT, True),
        (SendError.PROTOCOL, True),
        (SendError.DNS, True),
        (SendError.URL_REFUSED, None),
        (SendError.ADDRESS_REFUSED, None),
    ],
)
def test_an_attempt_without_an_answer_counts_only_if_it_was_made(error: SendError, *, failed: bool | None) -> None:
    """An attempt that failed on its way is a failure of the host.

    One that we refuse to make says nothing about the host.
    """
    assert answer(None, error).host_failed is failed


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 425, 429, 500, 503])
def test_an_event_that_was_not_taken_has_failed(status: int) -> None:
    """Whatever the receiver says, it does not have the event."""
    assert answer(status).failed is True


def test_an_event_that_was_taken_or_not_wanted_has_not_failed() -> None:
    """A 410 shows neither, and so does one that was not sent."""
    assert (answer(200).failed, answer(204).failed, answer(410).failed) == (False, False, None)
    assert answer(None, SendError.CONNECT).failed is True
    assert (answer(None, SendError.UNSIGNED).failed, answer(None, SendError.URL_REFUSED).failed) == (None, None)
