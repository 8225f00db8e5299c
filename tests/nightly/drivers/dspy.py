"""DSPy's LM with `model_type="responses"`. It returns a text, and shows no state."""

from typing import Any

import dspy

from tests.clients.drivers.driving import PROMPT, Call, Shown, drive


def lm(call: Call, **fields: Any) -> Any:
    """Return a model without a cache."""
    patience = {} if call.timeout_s is None else {"timeout": call.timeout_s}
    given = {"api_base": call.url, "api_key": call.key, "cache": False, **patience}
    return dspy.LM(f"openai/{call.model}", model_type="responses", **given, **fields)


def answer(call: Call, **fields: Any) -> Shown:
    """Ask in the foreground, or as the fields say."""
    [output] = lm(call, **fields)(PROMPT)
    return Shown(output if isinstance(output, str) else output.get("text") or "")


def queued(call: Call) -> Shown:
    """Start background work."""
    return answer(call, background=True)


if __name__ == "__main__":
    drive("dspy", answer=answer, queued=queued)
