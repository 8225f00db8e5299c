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
