"""The errors of the Responses contract, and the error that cuts the connection."""

from typing import Any


class ApiError(Exception):
    """An error that the client receives in OpenAI's envelope."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    @property
    def envelope(self) -> dict[str, Any]:
        """The JSON body of the answer."""
        fields = {"message": self.message, "type": kind(self.status), "param": self.param, "code": self.code}
        return {"error": fields}


class ConnectionCutError(Exception):
    """Raised to cut the connection without an answer."""


def kind(status: int) -> str:
    """Return the error `type` for an HTTP status."""
    if status >= 500:
        return "server_error"
    return "rate_limit_error" if status == 429 else "invalid_request_error"


def not_found(response_id: str) -> ApiError:
    """Return the 404 for an id that is unknown, deleted or not stored."""
    return ApiError(404, f"Response with id '{response_id}' not found.")
