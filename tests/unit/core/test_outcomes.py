"""What an answer says about the receiver's host."""

import pytest

from shared.core.outcomes import Answer, SendError


def answer(status: int | None, error: SendError | None = None) -> Answer:
    """Return the answer of one attempt."""
    return Answer(status, error, retry_after=None, duration_ms=1)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_overload_and_server_errors_are_trouble_of_the_host(status: int) -> None:
    """The circuit breaker counts them."""
    assert answer(status).host_failed is True


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 404, 410, 413, 425])
def test_a_host_that_answers_works(status: int) -> None:
    """A refusal closes the circuit as a success does: the receiver answered."""
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
def test_an_attempt_without_an_answer_shows_trouble_only_on_the_way(error: SendError, *, failed: bool | None) -> None:
    """What we refuse to send says nothing about the receiver."""
    assert answer(None, error).host_failed is failed
