"""Errors: whose fault each is, which status it has, and that none reveals too much."""

import inspect
import re
from typing import Any

import pytest

from shared.core import errors
from shared.core.errors import (
    Conflict,
    RefusedByUpstream,
    ServiceError,
    StoreIncomplete,
    UnreadableMessage,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamUnavailable,
    UpstreamUncertain,
    UpstreamUnusable,
)

CLASSES: dict[str, Any] = {
    name: one for name, one in vars(errors).items() if inspect.isclass(one) and one.__module__ == errors.__name__
}


def test_the_tree_in_the_docstring_is_the_class_hierarchy() -> None:
    """Each line of the tree names a class under its base class. No class is missing."""
    lines = re.findall(r"^( *)([A-Z]\w+)  +\S", inspect.getdoc(errors) or "", re.MULTILINE)
    assert {name for _, name in lines} == CLASSES.keys()
    above: dict[int, type] = {-2: Exception}
    for indent, name in lines:
        assert CLASSES[name].__base__ is above[len(indent) - 2]
        above[len(indent)] = CLASSES[name]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("BadRequest", 400),
        ("Unauthorized", 401),
        ("NotFound", 404),
        ("MethodNotAllowed", 405),
        ("TooLarge", 413),
        ("UnsupportedMediaType", 415),
        ("ServiceError", 500),
        ("Unavailable", 503),
    ],
)
def test_an_error_is_answered_in_openais_envelope(name: str, status: int) -> None:
    """The class gives status and type. All four fields are always present, also those that were not given."""
    error: ServiceError = CLASSES[name]("No.", param="model", code="c")
    kind = "server_error" if status >= 500 else "invalid_request_error"
    assert error.status == status
    assert error.envelope() == {"error": {"message": "No.", "type": kind, "param": "model", "code": "c"}}
    assert CLASSES[name]("No.").envelope()["error"] == {"message": "No.", "type": kind, "param": None, "code": None}


def test_a_refusal_of_the_upstream_is_passed_on() -> None:
    """The caller gets the upstream's status, message, param and code. A repeat would be refused, too."""
    error = RefusedByUpstream(UpstreamRefused(422, "Not so.", param="tools", code="bad_tool"))
    assert (error.status, error.is_final) == (422, True)
    assert error.envelope() == {
        "error": {"message": "Not so.", "type": "invalid_request_error", "param": "tools", "code": "bad_tool"}
    }


def test_only_a_4xx_is_for_the_caller() -> None:
    """A redirect or a 5xx of the upstream is not about the request."""
    found = {status: UpstreamRefused(status, "No.").is_for_caller for status in (302, 400, 499, 501)}
    assert found == {302: False, 400: True, 499: True, 501: False}


def test_the_text_of_an_error_omits_the_upstreams_message() -> None:
    """Logs show only our own text. The upstream's message is for the caller alone."""
    assert str(UpstreamRefused(400, "words of another")) == "upstream refused with status 400"
    failed = UpstreamFailed("code of another", "words of another")
    assert (failed.code, failed.message) == ("code of another", "words of another")
    assert str(failed) == "the upstream reported an error"
    uncertain = UpstreamUncertain("status 500", retry_after_s=7.0, code="c", message="words of another")
    assert (str(uncertain), uncertain.retry_after_s) == ("status 500", 7.0)
    assert (uncertain.code, uncertain.message) == ("c", "words of another")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("UpstreamOversized", "output_too_large"),
        ("UpstreamInvalid", "upstream_invalid"),
        ("UpstreamUnnamed", "upstream_invalid"),
    ],
)
def test_an_answer_that_cannot_be_used_has_a_code_and_a_message(name: str, code: str) -> None:
    """The caller gets both. The message is our own text, so it is also the text of the error."""
    error = CLASSES[name]()
    assert isinstance(error, UpstreamUnusable)
    assert (error.code, str(error)) == (code, error.message)
    assert error.message.startswith("The upstream's answer is ")


def test_an_error_has_the_details_for_the_next_step() -> None:
    """An unavailable upstream gives the time until a retry. A conflict names the row that was missing.

    An unreadable message keeps its bytes, which are not in the text of the error. Incomplete storage lists what is
    missing.
    """
    assert StoreIncomplete(["queue runs"]).missing == ["queue runs"]
    assert UpstreamUnavailable("status 429", retry_after_s=7.0).retry_after_s == 7.0
    assert Conflict("alarm|1").gone == "alarm|1"
    assert Conflict().gone is None
    assert StoreIncomplete(["queue runs"]).missing == ["queue runs"]
    unreadable = UnreadableMessage("not valid JSON", b"the caller's text")
    assert (str(unreadable), unreadable.body) == ("not valid JSON", b"the caller's text")
