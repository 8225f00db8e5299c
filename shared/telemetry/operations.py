"""What an upstream does, in the words of OpenTelemetry's GenAI conventions."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operation:
    """How telemetry names an upstream's work.

    `subject` is the attribute that holds the model's name. The prefix is ours and not part of that name.
    """

    name: str = "chat"
    provider: str = "openai"
    subject: str = "gen_ai.request.model"
    prefix: str = ""

    def model_name(self, model: str | None) -> str:
        """Return the name of a model or agent without our prefix; empty if there is none."""
        return (model or "").removeprefix(self.prefix)
