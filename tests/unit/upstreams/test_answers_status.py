"""What the status of an upstream's answer means, for every status, and what a refusal says."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import orjson
import pytest

from shared.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamMissing,
    UpstreamRedirected,
    UpstreamRefused,
    UpstreamUnavailable,
    UpstreamUncertain,
)
from shared.upstreams import tries
from shared.upstreams.answers import Success, check_status, check_stream
from shared.upstreams.tries import Meaning
from tests.support.log_capture import WrittenLines, log_lines

REFUSED = {400, 405, 409, 413, 415, 422, 501}


def meaning(status: int, *, missing: bool = False, content: bytes = b"", **headers: str) -> Success | UpstreamError:
    """Return what an answer with this status means: a success, or the error that is raised."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        return check_status(httpx.Response(status, headers=named), content, missing=missing)
    except UpstreamError as error:
        return error


def refusal(body: object, status: int = 400) -> UpstreamRefused:
    """Return the refusal that an answer with this body means."""
    found = meaning(status, content=body if isinstance(body, bytes) else orjson.dumps(body))
    assert isinstance(found, UpstreamRefused)
    return found


@pytest.mark.parametrize("missing", [False, True])
def test_every_status_has_one_meaning(missing: bool) -> None:
    """A 2xx is a success. What another status means to a create is in the table of `tries`.

    About work that exists, a 404 or 410 says that it is missing, a 3xx that the upstream is elsewhere, a few 4xx are
    refusals, and the rest is temporary.
    """
    for status in range(200, 600):
        found = meaning(status, missing=missing)
        if status < 300:
            assert isinstance(found, Success), status
        elif status in (404, 410) and missing:
            assert isinstance(found, UpstreamMissing), status
        elif status < 400 and missing:
            assert isinstance(found, UpstreamRedirected), status
        elif status in REFUSED or (not missing and tries.of_status(status) is Meaning.END):
            assert isinstance(found, UpstreamRefused), status
            assert found.status == status
        else:
            assert isinstance(found, UpstreamUnavailable), status
            assert str(found) == f"status {status}"
            counts = not missing and tries.of_status(status) is Meaning.COUNTED
            assert isinstance(found, UpstreamUncertain) is counts, status


def test_an_error_about_a_spent_quota_is_a_refusal() -> None:
    """A 429 says by its code or type whether it heals by waiting."""
    for error in ({"code": "insufficient_quota"}, {"code": 1, "type": "exceeded_current_quota_error"}):
        assert isinstance(meaning(429, content=orjson.dumps({"error": error})), UpstreamRefused)
    throttled = meaning(429, content=orjson.dumps({"error": {"code": "rate_limit_exceeded", "message": "quota"}}))
    assert type(throttled) is UpstreamUnavailable


def test_an_uncertain_answer_keeps_the_upstreams_words() -> None:
    """If it is the last try, the caller gets the code and message of a 5xx. Nothing of them is in a log."""
    found = meaning(500, content=orjson.dumps({"error": {"code": "oom", "message": "Out of memory."}}))
    assert isinstance(found, UpstreamUncertain)
    assert (str(found), found.code, found.message) == ("status 500", "oom", "Out of memory.")


def test_a_success_has_the_body() -> None:
    """The body is returned as it was read."""
    assert meaning(202, content=b"body") == Success(b"body", None)


@pytest.mark.parametrize(("header", "expected_s"), [("7", 7.0), ("0", 0.0), ("1.5", 1.5), ("soon", None), ("-1", None)])
@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_may_ask_for_a_wait(status: int, header: str, expected_s: float | None) -> None:
    """The Retry-After of a success and of a failure is returned in seconds, if it can be read."""
    found = meaning(status, retry_after=header)
    assert isinstance(found, Success | UpstreamUnavailable)
    assert found.retry_after_s == expected_s


def test_a_wait_may_end_at_a_date() -> None:
    """A date is compared with the machine's clock."""
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    found = meaning(429, retry_after=date)
    assert isinstance(found, UpstreamUnavailable)
    assert found.retry_after_s == pytest.approx(600, abs=5)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_refused_credentials_are_logged(status: int, written: WrittenLines) -> None:
    """A 401 or a 403 needs an operator, so it is an error in the log. The body, which may name the key, is not."""
    meaning(status, content=b'{"error": {"message": "Incorrect key sk-geheim"}}')
    expected = [{"event": "upstream.credentials_refused", "status": status}] if status in (401, 403) else []
    assert log_lines(written, "error") == log_lines(written) == expected


# Refusals


def test_a_refusal_has_the_upstreams_message() -> None:
    """OpenAI's error envelope has a message, the name of a parameter and a code, and each is passed on."""
    error = {"message": "No such model.", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    found = refusal({"error": error}, 404)
    assert (found.message, found.param, found.code) == ("No such model.", "model", "model_not_found")
    assert "No such model." not in str(found)


def test_a_message_alone_is_enough() -> None:
    """Azure often sends no parameter, and some servers send no code."""
    found = refusal({"error": {"message": "No."}})
    assert (found.message, found.param, found.code) == ("No.", None, None)


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"error": "model 'foo' not found"}, "model 'foo' not found", None),
        ({"detail": "background needs store"}, "background needs store", None),
        ({"detail": [{"loc": ["body", "input"], "msg": "Field required"}]}, "input: Field required", None),
        ({"message": "No.", "code": "x"}, "No.", "x"),
        ({"error": {"message": "Too long.", "code": 400}}, "Too long.", "400"),
        ([{"error": {"message": "No.", "code": 3}}], "No.", "3"),
        (b"no such route", "no such route", None),
        (b"<title>Bad Request</title>", "Bad Request", None),
        (b'"x"', "x", None),
    ],
    ids=range(9),
)
def test_a_refusal_in_another_form_keeps_its_words(body: object, message: str, code: str | None) -> None:
    """Not every server uses OpenAI's envelope. The reader of errors is in `contract/upstream_errors`."""
    found = refusal(body, 422)
    assert (found.message, found.code) == (message, code)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"7", b"null", b"\x00", {}, {"error": None}, {"error": []}, {"error": {}}]
    + [{"error": {"message": wrong, "param": 7, "code": []}} for wrong in (None, "", {"a": 1}, 7)],
    ids=range(14),
)
@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_without_words_gets_a_default_message(body: object, status: int) -> None:
    """The caller learns at least the status."""
    found = refusal(body, status)
    expected = f"The upstream refused the request with status {status}."
    assert (found.status, found.message, found.param, found.code) == (status, expected, None, None)


@pytest.mark.parametrize("missing", [False, True])
def test_a_redirect_is_an_error_in_the_log(written: WrittenLines, missing: bool) -> None:
    """Nobody but an operator can set the new address. No later try would find another answer."""
    found = meaning(307, missing=missing, content=b"<title>Moved</title>", location="https://elsewhere.example.com")
    assert getattr(found, "code", None) == "upstream_redirected"
    assert log_lines(written, "error") == [{"event": "upstream.redirected", "status": 307}]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((500, UpstreamBroken), (403, UpstreamBroken), (302, UpstreamRedirected), (503, UpstreamUnavailable)),
        *((429, UpstreamUnavailable), (404, UpstreamMissing), (400, UpstreamRefused), (501, UpstreamRefused)),
    ],
)
def test_a_stream_that_is_answered_with_an_error_is_broken(status: int, kind: type[UpstreamError]) -> None:
    """Some servers answer every GET of a stream with a 500. Broken streams are counted, and then the work is polled."""
    with pytest.raises(kind):
        check_stream(httpx.Response(status), b"", missing=True)
