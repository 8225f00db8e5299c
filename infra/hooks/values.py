"""Values of azd's environment that a person may set."""

from collections.abc import Mapping

MAX_S = 3_600.0


class WrongValue(Exception):
    """A value of azd's environment cannot be meant. The text names it, and what is expected."""


def seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    """Return a duration in seconds. Raise WrongValue unless it is a number from 0 to 3600."""
    text = environment.get(name, "")
    try:
        found = float(text) if text else default
    except ValueError:
        found = -1.0
    if not 0 <= found <= MAX_S:
        raise WrongValue(f"{name} must be seconds from 0 to {MAX_S:.0f}, such as {default:g}")
    return found
