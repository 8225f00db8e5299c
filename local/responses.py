"""Response objects as a caller reads them: what their end looks like, and their text."""

from collections.abc import Mapping
from typing import Any

TERMINAL = frozenset({"completed", "failed", "incomplete", "cancelled"})
"""The statuses of a response that has ended."""


def output_text(response: Mapping[str, Any]) -> str:
    """Return the text of a response's output. Each part starts on a new line. Reasoning and refusals are no text."""
    parts = (part for item in response.get("output") or () for part in item.get("content") or ())
    return "\n".join(part["text"] for part in parts if part["type"] == "output_text")
