"""What an agent's exception means for its response, told without a word that a prompt, a key or a URL could be in."""

import re

from shared.telemetry import exceptions

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CONNECTIONS = frozenset({"ConnectionError", "APIConnectionError", "TimeoutError", "TransportError"})
_PASSING = frozenset({408, 409, 425, 429, *range(500, 600)})


def told(error: BaseException) -> dict[str, str]:
    """Return code and message of a response that has failed with it: names of types, nothing of their text."""
    names = [exceptions.name(one) for one in exceptions.chain(error)]
    by = f", caused by {names[-1]}" if len(names) > 1 else ""
    return {"code": _CAMEL.sub("_", names[0]).lower(), "message": f"The agent failed with {names[0]}{by}."}


def is_passing(error: BaseException) -> bool:
    """Say whether another try may find the service that the agent asks in a better state."""
    return any(_is_connection(one) or getattr(one, "status_code", None) in _PASSING for one in exceptions.chain(error))


def is_about_background(error: BaseException) -> bool:
    """Say whether a chat client refuses background work: it, or its service, names the option."""
    return any("background" in str(one) for one in exceptions.chain(error))


def _is_connection(error: BaseException) -> bool:
    """Say whether a connection is at fault, in the words of whatever HTTP client the agent's SDK brings along."""
    return any(one.__name__ in _CONNECTIONS for one in type(error).__mro__)
