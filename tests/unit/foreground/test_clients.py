"""What the headers of a POST tell about its client: whether it bounds the whole body, and which try this is."""

import pytest

from shared.foreground.clients import Client, client_of


@pytest.mark.parametrize(
    "user_agent",
    [
        "OpenAI/2.14.0 (.NET 10.0.0; Debian GNU/Linux 12 (bookworm))",
        "MEAI/10.3.0 OpenAI/2.15.0 (.NET 8.0.11; Microsoft Windows 10.0.26100)",
        "azsdk-net-AI.OpenAI/2.7.0-beta.1 (.NET 9.0.0; Ubuntu 24.04)",
        "agent-framework-dotnet/1.28 azsdk-net-AI.Projects/1.2.0 (.NET 10.0.0)",
    ],
)
def test_clients_for_net_bound_the_whole_body(user_agent: str) -> None:
    """OpenAI's and Azure's libraries have 100 s to the headers and 100 s to the end of the body, and no byte renews it.

    Observed with OpenAI 2.14 on .NET 10, with all defaults.
    """
    assert client_of({"user-agent": user_agent}).bounds_body


@pytest.mark.parametrize(
    "user_agent",
    [
        "OpenAI/Python 3.1.0",
        "AsyncOpenAI/Python 3.1.0",
        "OpenAI/JS 7.2.0",
        "azsdk-js-openai/1.0.0",
        "langchain (.NET is not meant)",
        "OpenAI/2.14.0",
        "",
    ],
)
def test_other_clients_wait_as_long_as_bytes_come(user_agent: str) -> None:
    """Their time-out is between two reads."""
    assert not client_of({"user-agent": user_agent}).bounds_body
    assert client_of({}) == Client()


@pytest.mark.parametrize(
    ("sent", "count"),
    [("0", 0), ("1", 1), ("12", 12), ("", None), ("x", None), ("-1", None), ("1.5", None), ("²", None)],
)
def test_a_retry_count_is_a_small_number(sent: str, count: int | None) -> None:
    """OpenAI's SDKs count from 0. What is no number is ignored."""
    assert client_of({"x-stainless-retry-count": sent}).retry_count == count
    assert client_of({"x-stainless-retry-count": "9" * 5_000}).retry_count is None
