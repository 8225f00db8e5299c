"""What an agent's exception means: the error of its response, whether another try may help, and rejected options."""

import asyncio
from collections.abc import Callable

import httpx
import httpx2
import openai
import pytest
from agent_framework.exceptions import ChatClientException, ChatClientInvalidRequestException
from azure.core.exceptions import HttpResponseError
from hypothesis import given
from hypothesis import strategies as st

from shared.upstreams.agents.failures import error_details, is_about_background, is_temporary

SECRET = "sk-geheim"
REQUEST = httpx2.Request("POST", "https://api.example.com/v1/responses")
TEMPORARY = [408, 409, 425, 429, 500, 502, 503, 504, 599]
LASTING = [200, 400, 401, 403, 404, 410, 413, 422, 600]


class WithStatus(Exception):
    """An exception of a library that has the status of an answer."""

    def __init__(self, status_code: object) -> None:
        super().__init__(SECRET)
        self.status_code = status_code


def caused(error: BaseException, cause: BaseException) -> BaseException:
    """Return an exception with its cause."""
    error.__cause__ = cause
    return error


def refused(status: int) -> openai.APIStatusError:
    """Return the exception of OpenAI's SDK for an answer with this status."""
    return openai.APIStatusError(SECRET, response=httpx2.Response(status, request=REQUEST), body=None)


def named(name: str) -> BaseException:
    """Return an exception whose type has this name."""
    error = type(name, (Exception,), {})()
    assert isinstance(error, BaseException)
    return error


# The error of a response


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ValueError", "value_error"),
        ("TimeoutError", "timeout_error"),
        ("APIConnectionError", "api_connection_error"),
        ("HTTPStatusError", "http_status_error"),
        ("QuotaExceeded", "quota_exceeded"),
        ("OSError", "os_error"),
        ("Http2Error", "http2_error"),
        ("Oops", "oops"),
        ("already_snake", "already_snake"),
    ],
)
def test_the_code_is_the_exceptions_type_in_snake_case(name: str, code: str) -> None:
    """Error codes of the API are lower case words. The message has the name as it is."""
    assert error_details(named(name)) == {"code": code, "message": f"The agent failed with {name}."}


def test_the_message_names_the_first_cause() -> None:
    """The framework wraps the exceptions of its clients, so the first cause is the most useful one."""
    error = caused(ChatClientException(SECRET), caused(RuntimeError(SECRET), KeyError(SECRET)))
    assert error_details(error) == {
        "code": "chat_client_exception",
        "message": "The agent failed with ChatClientException, caused by KeyError.",
    }


def test_no_text_of_an_exception_is_shown() -> None:
    """The text may contain a prompt, a key or a URL. It stays out of code and message, also that of a cause."""
    error = caused(WithStatus(500), caused(refused(503), ValueError(SECRET)))
    assert SECRET not in str(error_details(error))


@given(st.text("ABCabc123_", min_size=1, max_size=200))
def test_a_code_is_lower_case_and_short(name: str) -> None:
    """Generated names are cut. A code has no letters that the name does not have."""
    code = error_details(named(name))["code"]
    assert code == code.lower()
    assert code.replace("_", "") == name[:80].replace("_", "").lower()


# Whether another try may help


@pytest.mark.parametrize(
    "make",
    [
        ConnectionResetError,
        TimeoutError,
        asyncio.TimeoutError,
        lambda: httpx.ConnectError(SECRET),
        lambda: httpx.ReadTimeout(SECRET),
        lambda: httpx.RemoteProtocolError(SECRET),
        lambda: httpx2.ConnectError(SECRET),
        lambda: openai.APIConnectionError(request=REQUEST),
        lambda: openai.APITimeoutError(request=REQUEST),
    ],
)
def test_a_failed_connection_is_temporary(make: Callable[[], BaseException]) -> None:
    """Connections of Python, HTTP clients and OpenAI's SDK are recognized by the names of their exceptions."""
    assert is_temporary(make())


@pytest.mark.parametrize(("statuses", "expected"), [(TEMPORARY, True), (LASTING, False)], ids=["temporary", "lasting"])
def test_overload_and_server_errors_are_temporary(statuses: list[int], expected: bool) -> None:
    """The status may be that of OpenAI's or Azure's SDK. A refused request or key stays refused."""
    for status in statuses:
        azure = HttpResponseError(SECRET)
        azure.status_code = status
        found = [is_temporary(error) for error in (WithStatus(status), refused(status), azure)]
        assert found == [expected] * 3, status


@pytest.mark.parametrize("cause", [ConnectionError(), refused(503)])
def test_a_temporary_cause_makes_a_failure_temporary(cause: BaseException) -> None:
    """The framework wraps what its clients raise. The cause may be several exceptions deep."""
    assert is_temporary(caused(ChatClientException(SECRET), cause))
    assert is_temporary(caused(RuntimeError(), caused(ChatClientException(SECRET), cause)))


@pytest.mark.parametrize(
    "error", [ValueError("503"), KeyError("TimeoutError"), OSError(), WithStatus(None), WithStatus("503"), refused(400)]
)
def test_any_other_failure_is_lasting(error: BaseException) -> None:
    """An error in the agent's own code would come again. The text of an exception does not matter."""
    assert not is_temporary(caused(RuntimeError(), error))
    assert not is_temporary(error)


# Rejected options


@pytest.mark.parametrize(
    "error",
    [
        TypeError("create() got an unexpected keyword argument 'background'"),
        ChatClientInvalidRequestException("Unsupported parameter: background."),
        caused(ChatClientException("The service failed."), refused(400)),
    ],
)
def test_a_client_that_rejects_background_work_names_the_option(error: BaseException) -> None:
    """The name may be in the exception of the framework, or only in that of the service below it."""
    if error.__cause__:
        assert not is_about_background(error)
        error = caused(error, ValueError("Unknown parameter: 'background'."))
    assert is_about_background(error)
    assert is_about_background(caused(RuntimeError(), error))


@pytest.mark.parametrize("error", [TypeError("unexpected keyword argument 'temperature'"), refused(400), ValueError()])
def test_another_failure_is_not_about_background_work(error: BaseException) -> None:
    """It must not be repeated without the option, because that would not help."""
    assert not is_about_background(error)
