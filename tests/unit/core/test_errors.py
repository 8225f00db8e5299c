"""Errors: by whose fault, with which status, and without a word too many."""

import inspect
import re
from typing import Any

import pytest

from shared.core import errors
from shared.core.errors import Conflict, RefusedByUpstream, ServiceError, UpstreamRefused, UpstreamUnavailable

CLASSES: dict[str, Any] = {
    name: one for name, one in vars(errors).items() if inspect.isclass(one) and one.__module__ == errors.__name__
}


def test_the_tree_on_top_of_the_file_is_the_tree_of_the_classes() -> None:
    """Each line of it names a class under the class it derives from. No class is left out."""
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
    """The class says status and type; all four fields are there, whether they are given or not."""
    error: ServiceError = CLASSES[name]("No.", param="model", code="c")
    kind = "server_error" if status >= 500 else "invalid_request_error"
    assert error.status == status
    assert error.envelope() == {"error": {"message": "No.", "type": kind, "param": "model", "code": "c"}}
    assert CLASSES[name]("No.").envelope()["error"] == {"message": "No.", "type": kind, "param": None, "code": None}


def test_a_refusal_of_the_upstream_is_passed_on() -> None:
    """With its status, words, param and code."""
    error = RefusedByUpstream(UpstreamRefused(422, "Not so.", param="tools", code="bad_tool"))
    assert error.status == 422
    assert error.envelope() == {
        "error": {"message": "Not so.", "type": "invalid_request_error", "param": "tools", "code": "bad_tool"}
    }


def test_an_upstreams_words_are_not_in_the_text_of_its_error() -> None:
    """What goes to a log is ours; the upstream's words are for the caller alone."""
    assert str(UpstreamRefused(400, "words of another")) == "upstream refused with status 400"


def test_an_error_carries_what_the_next_step_needs() -> None:
    """When to try again, and which row was gone."""
    assert UpstreamUnavailable("status 429", retry_after_s=7.0).retry_after_s == 7.0
    assert Conflict("alarm|1").gone == "alarm|1"
    assert Conflict().gone is None
