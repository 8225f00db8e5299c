"""The names that telemetry gives to the work of an upstream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry.operations import Operation, provider_of

AGENTS = Operation("invoke_agent", "microsoft.agent_framework", "gen_ai.agent.name", "agent:")


def test_by_default_the_work_is_a_chat_with_openai() -> None:
    """A server of the Responses API needs no other names."""
    assert Operation() == Operation("chat", "openai", "gen_ai.request.model", "")


@pytest.mark.parametrize(
    ("operation", "model", "expected"),
    [
        (Operation(), "gpt-5", "gpt-5"),
        (Operation(), "agent:clerk", "agent:clerk"),
        (Operation(), None, ""),
        (AGENTS, "agent:clerk", "clerk"),
        (AGENTS, "agent:agent:clerk", "agent:clerk"),
        (AGENTS, "agent:", ""),
        (AGENTS, "my-agent:clerk", "my-agent:clerk"),
        (AGENTS, "", ""),
        (AGENTS, None, ""),
    ],
)
def test_our_prefix_is_not_a_part_of_a_models_name(operation: Operation, model: str | None, expected: str) -> None:
    """The prefix is removed once, and only at the beginning. A response without a model has an empty name."""
    assert operation.model_name(model) == expected


@given(st.text("agent:é"), st.text("agent:é"))
def test_a_name_is_found_behind_any_prefix(prefix: str, name: str) -> None:
    """Removing a prefix undoes adding it."""
    assert Operation(prefix=prefix).model_name(prefix + name) == name


def test_operations_are_values() -> None:
    """Equal operations count as one, for example as the key of a mapping."""
    assert len({Operation(), Operation(), AGENTS}) == 2


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("contoso.openai.azure.com", "azure.ai.openai"),
        ("contoso.services.ai.azure.com", "azure.ai.openai"),
        ("contoso.openai.azure.us", "azure.ai.openai"),
        ("api.openai.com", "openai"),
        ("azure.com.example.net", "openai"),
        ("127.0.0.1", "openai"),
    ],
)
def test_the_host_of_an_upstream_tells_its_provider(host: str, provider: str) -> None:
    """Azure's clouds are known by their names. A server that only speaks OpenAI's API counts as OpenAI."""
    assert provider_of(host) == provider
