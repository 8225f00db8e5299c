"""What an upstream says went wrong: every form of an error that servers use, in answers, results and streams."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.upstream_errors import (
    MAX_CODE,
    MAX_MESSAGE,
    ReportedError,
    error_in,
    error_in_answer,
    error_in_event,
    error_in_result,
)

QUOTA = {"message": "Your credit is used up.", "type": "billing_error", "param": None, "code": "insufficient_quota"}
IN_WORDS = ReportedError("Your credit is used up.", "insufficient_quota", "billing_error")
MISSING = {"type": "missing", "loc": ["body", "input", 0, "role"], "msg": "Field required", "input": {}}

# A body that reports an error, and what it says.
FORMS: dict[str, tuple[Any, ReportedError]] = {
    "OpenAI": ({"error": QUOTA}, IN_WORDS),
    "OpenAI with all": (
        {"error": {"message": "No.", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}},
        ReportedError("No.", "model_not_found", "invalid_request_error", "model"),
    ),
    "a message alone": ({"error": {"message": "No."}}, ReportedError("No.")),
    "a number as code": ({"error": {"message": "Busy.", "code": 502}}, ReportedError("Busy.", "502")),
    "a text": ({"error": "model 'foo' not found"}, ReportedError("model 'foo' not found")),
    "a name and a message": (
        {"error": "not_found", "message": "No such model."},
        ReportedError("No such model.", "not_found"),
    ),
    "a phrase and a message": (
        {"timestamp": "2026", "status": 404, "error": "Not Found", "message": "No such model.", "path": "/v1"},
        ReportedError("Not Found: No such model.", "404"),
    ),
    "OAuth": (
        {"error": "invalid_grant", "error_description": "The token has expired."},
        ReportedError("The token has expired.", "invalid_grant"),
    ),
    "the code beside the error": ({"error": {"message": "No."}, "code": 400}, ReportedError("No.", "400")),
    "an error within an error": ({"error": {"error": QUOTA}}, IN_WORDS),
    "one error in a list": ({"error": [QUOTA]}, IN_WORDS),
    "FastAPI's text": ({"detail": "background needs store"}, ReportedError("background needs store")),
    "FastAPI's list": (
        {"detail": [MISSING, {"loc": ["body"], "msg": "Too long"}]},
        ReportedError("input.0.role: Field required; Too long", param="input.0.role"),
    ),
    "an error in FastAPI's detail": ({"detail": {"error": QUOTA}}, IN_WORDS),
    "a message and a code": ({"message": "No.", "code": "x"}, ReportedError("No.", "x")),
    "vLLM": (
        {"object": "error", "message": "Too long.", "type": "BadRequestError", "param": None, "code": 400},
        ReportedError("Too long.", "400", "BadRequestError"),
    ),
    "Google": (
        [{"error": {"code": 429, "message": "Exhausted.", "status": "RESOURCE_EXHAUSTED"}}],
        ReportedError("Exhausted.", "429"),
    ),
    "Google's status alone": (
        {"error": {"message": "Exhausted.", "status": "RESOURCE_EXHAUSTED"}},
        ReportedError("Exhausted.", "RESOURCE_EXHAUSTED"),
    ),
    "a problem document": (
        {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": "No access."},
        ReportedError("No access.", "403", "about:blank"),
    ),
    "several errors": ({"errors": [{"message": "One."}, "Two."]}, ReportedError("One.; Two.")),
    "Apigee": (
        {"fault": {"faultstring": "No route.", "detail": {"errorcode": "messaging.x"}}},
        ReportedError("No route.", "messaging.x"),
    ),
    "MiniMax": (
        {"base_resp": {"status_code": 1008, "status_msg": "No balance."}},
        ReportedError("No balance.", "1008"),
    ),
    "a code and a msg": (
        {"success": False, "code": 1001, "msg": "No such user."},
        ReportedError("No such user.", "1001"),
    ),
    "a list of texts": (["One.", "Two."], ReportedError("One.; Two.")),
    "a status in words is no code": ({"status": "failed", "error": {"message": "No."}}, ReportedError("No.")),
    "a code without words": ({"error": {"code": 502}}, ReportedError("", "502")),
    "Azure's details": (
        {
            "error": {
                "message": "The body is invalid.",
                "code": "invalid_request",
                "param": None,
                "details": [{"message": "Not a number.", "param": "$.top_p"}, {"message": "Unknown."}],
            }
        },
        ReportedError("The body is invalid: top_p: Not a number.; Unknown.", "invalid_request", param="top_p"),
    ),
    "details that say the same": (
        {"error": {"message": "Not a number.", "details": [{"message": "Not a number.", "target": 5}]}},
        ReportedError("Not a number."),
    ),
    "details without words": ({"message": "No.", "details": [7, "x", {"a": 1}]}, ReportedError("No.")),
    "a message beside FastAPI's list": (
        {"message": "Invalid.", "detail": [MISSING]},
        ReportedError("Invalid: input.0.role: Field required", param="input.0.role"),
    ),
    "ASP.NET": (
        {"title": "Validation failed.", "errors": {"$.model": ["Required."], "top_p": ["Too big.", "Odd."], "x": 1}},
        ReportedError("Validation failed: model: Required.; top_p: Too big.; Odd."),
    ),
    "texts by field alone": (
        {"errors": {"model": ["Required."], "x": [7]}},
        ReportedError("model: Required."),
    ),
    "text": ("try again later", ReportedError("try again later")),
}
forms = pytest.mark.parametrize(("body", "expected"), FORMS.values(), ids=FORMS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "message",
                    "detail",
                    "details",
                    "errors",
                    "loc",
                    "path",
                    "msg",
                    "code",
                    "type",
                    "param",
                    "object",
                    "status",
                ]
            ),
            inner,
        )
    ),
)


@forms
def test_every_form_of_an_error_is_read(body: object, expected: ReportedError) -> None:
    """The provider's message, code, type and parameter are found wherever its server puts them."""
    assert error_in(body) == expected


@forms
def test_an_error_reads_the_same_in_the_body_of_an_answer(body: object, expected: ReportedError) -> None:
    """The body of a refusal is JSON, or it is text."""
    assert error_in_answer(body.encode() if isinstance(body, str) else orjson.dumps(body)) == expected


@pytest.mark.parametrize(
    "body",
    [None, 7, True, "", " ", [], {}, {"error": None}, {"error": {}}, {"error": []}, {"error": True}, {"x": "y"}]
    + [{"error": {"message": wrong, "param": 7, "code": []}} for wrong in (None, "", {"a": 1}, 7)],
    ids=range(16),
)
def test_a_body_may_say_nothing(body: object) -> None:
    """A body without words and without a code has no error that could be shown."""
    assert error_in(body) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"upstream connect error\n", "upstream connect error"),
        (b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>", "502 Bad Gateway"),
        (b" <!DOCTYPE html><TITLE lang=en>\nNo access\n</TITLE>", "No access"),
        (b'{"error": "cut \\ud83d"}', "cut \ufffd"),
        (b'{"error": "not clo', '{"error": "not clo'),
    ],
)
def test_an_answer_that_is_not_json_is_text(content: bytes, message: str) -> None:
    """Proxies answer with a line of text, or with a page, whose title says what is wrong."""
    assert error_in_answer(content) == ReportedError(message)


@pytest.mark.parametrize("content", [b"", b" ", b"\x1f\x8b\x00binary", b"\xff\xfe", b"<html>", b"<title></title>"])
def test_an_answer_that_cannot_be_shown_says_nothing(content: bytes) -> None:
    """Binary content and a page without a title have no words."""
    assert error_in_answer(content) is None


def test_an_error_of_millions_of_values_says_nothing() -> None:
    """To read it would take seconds, during which nobody is served."""
    assert error_in_answer(b'{"error": ' + b"[" * 500_001 + b"]" * 500_001 + b"}") is None


def test_what_is_said_is_cut_to_length() -> None:
    """A message has at most 2,000 characters, and every name at most 100."""
    names = dict.fromkeys(("code", "type", "param"), "c" * 101)
    found = error_in({"error": {"message": "m" * 2_001, **names}})
    assert found == ReportedError("m" * MAX_MESSAGE, *["c" * MAX_CODE] * 3)
    assert error_in({"error": "e " * 3_000, "message": "m" * 3_000}) == ReportedError("e " * 1_000)
    assert (MAX_MESSAGE, MAX_CODE) == (2_000, 100)


@given(json_values)
def test_no_body_raises(body: object) -> None:
    """Whatever a server sends is read within the limits, and is the same as text."""
    found = error_in(body)
    assert found is None or len(found.message) <= MAX_MESSAGE
    error_in_result(body)
    if isinstance(body, dict):
        error_in_event(body)


# Results


@pytest.mark.parametrize(
    "body", [{"error": QUOTA}, [{"error": QUOTA}], {**QUOTA}, {"fault": QUOTA}, {"base_resp": QUOTA}]
)
def test_an_answer_in_place_of_a_response_object_may_report_an_error(body: object) -> None:
    """Some gateways answer 200 and put the error into the body."""
    assert error_in_result(body) == IN_WORDS


def test_an_error_in_an_answer_may_have_no_words() -> None:
    """It is still an error."""
    assert error_in_result({"error": {"x": 1}}) == ReportedError()


@pytest.mark.parametrize(
    "body", [None, "text", 7, {}, [], [1, 2], {"error": None}, {"id": "up_1", "status": "cancelling"}], ids=range(8)
)
def test_another_answer_is_no_error(body: object) -> None:
    """An object without an `error` and without words is not an error, whatever else it is."""
    assert error_in_result(body) is None


# Events


@pytest.mark.parametrize(
    "sent",
    [
        {"error": QUOTA},
        {"type": None, "error": QUOTA},
        {"fault": QUOTA},
        {"detail": QUOTA},
        {"type": "error", "error": QUOTA},
        {"type": "error", **{name: value for name, value in QUOTA.items() if name != "type"}},
        {"type": "response.error", "error": QUOTA},
        {"type": "response.failed", "error": QUOTA},
        {"type": "response.failed", "response": None, "error": QUOTA},
        {"type": "chunk", "error": QUOTA},
        QUOTA,
    ],
    ids=range(11),
)
def test_an_event_reports_an_error_in_every_form(sent: dict[str, Any]) -> None:
    """The event may have no type, and its fields may be nested or not."""
    found = error_in_event(sent)
    assert found
    assert (found.message, found.code) == (IN_WORDS.message, IN_WORDS.code)


@pytest.mark.parametrize(
    "sent",
    [
        {"type": "error"},
        {"type": "response.failed"},
        {"type": "error", "code": None, "message": ""},
        {"error": {"x": 1}},
    ],
)
def test_an_error_event_may_have_no_words(sent: dict[str, Any]) -> None:
    """It still ends the work."""
    assert error_in_event(sent) == ReportedError()


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"error": None},
        {"error": ""},
        {"message": "hello"},
        {"type": "keepalive"},
        {"type": "response.failed", "response": {"error": QUOTA}},
        {"type": "response.mcp_call.failed", "error": "No such tool."},
        {"type": "response.output_text.delta", "delta": "error"},
        {"type": "acme:tool_error", "error": QUOTA},
        {"type": "acme:trace", "error": "x", "message": "x", "code": 1},
        {"type": "response.completed", "error": None},
    ],
    ids=range(11),
)
def test_another_event_is_no_error(sent: dict[str, Any]) -> None:
    """Events of the contract and of a provider's own may have a member of that name."""
    assert error_in_event(sent) is None
