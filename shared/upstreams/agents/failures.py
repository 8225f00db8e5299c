"""What an agent's exception means for its response.

The text of an exception is never shown, because it may contain a prompt, a key or a URL.
"""

import re

from shared.telemetry import exceptions

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CONNECTIONS = frozenset({"ConnectionError", "APIConnectionError", "TimeoutError", "TransportError"})
_TEMPORARY = frozenset({408, 409, 425, 429, *range(500, 600)})


def error_details(error: BaseException) -> dict[str, str]:
    """Return the `code` and `message` of a response that failed with an exception. They contain only type names."""
    names = [exceptions.type_name(one) for one in exceptions.chain(error)]
    by = f", caused by {names[-1]}" if len(names) > 1 else ""
    return {"code": _CAMEL.sub("_", names[0]).lower(), "message": f"The agent failed with {names[0]}{by}."}


def is_temporary(error: BaseException) -> bool:
    """Return whether another try may succeed, because a service that the agent calls is in trouble.

    This is so if the exception or one of its causes is a connection error, or has status 408, 409, 425, 429 or 5xx.
    """
    return any(
        _is_connection(one) or getattr(one, "status_code", None) in _TEMPORARY for one in exceptions.chain(error)
    )


def is_about_background(error: BaseException) -> bool:
    """Return whether a chat client rejects background work. Its error, or its service's error, names the option."""
    return any("background" in str(one) for one in exceptions.chain(error))


def _is_connection(error: BaseException) -> bool:
    """Return whether a connection failed, judged by the class names that HTTP clients and SDKs use."""
    return any(one.__name__ in _CONNECTIONS for one in type(error).__mro__)
