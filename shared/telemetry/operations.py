"""The work of an upstream, in the terms of OpenTelemetry's GenAI conventions."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operation:
    """How telemetry names the work of an upstream.

    `subject` is the attribute that holds the model's name. `prefix` is what we put before that name, and telemetry
    leaves it out.
    """

    name: str = "chat"
    provider: str = "openai"
    subject: str = "gen_ai.request.model"
    prefix: str = ""

    def model_name(self, model: str | None) -> str:
        """Return the name of a model or agent without our prefix, or an empty string."""
        return (model or "").removeprefix(self.prefix)


def provider_of(host: str) -> str:
    """Return the value of `gen_ai.provider.name`. A server that only speaks OpenAI's API counts as OpenAI."""
    return "azure.ai.openai" if host.endswith((".azure.com", ".azure.us", ".azure.cn")) else "openai"
