"""What an upstream does, in OpenTelemetry's words."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operation:
    """What an upstream does, in the words of OpenTelemetry's GenAI conventions.

    `subject` is the attribute that a model's name is of. The prefix is ours: it is not part of the name.
    """

    name: str = "chat"
    provider: str = "openai"
    subject: str = "gen_ai.request.model"
    prefix: str = ""

    def named(self, model: str | None) -> str:
        """Return the name of the model or agent, empty if there is none."""
        return (model or "").removeprefix(self.prefix)
