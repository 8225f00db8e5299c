"""Everything that can go wrong, by whose fault it is.

ServiceError                 answered to the caller, in OpenAI's envelope
  BadRequest                 400, names the field
  Unauthorized               401
  NotFound                   404, also for another caller's response
  MethodNotAllowed           405
  TooLarge                   413
  UnsupportedMediaType       415
  Unavailable                503, storage does not answer: try again
  Misconfigured              500, something that the deployment brings along is broken
UpstreamError                the upstream's doing
  UpstreamRefused            it judged the request and will judge it so again
  UpstreamUnavailable        it could not be asked now: try again
  UpstreamMissing            it does not know the response (yet, or any more)
  UpstreamBroken             its stream broke off, or cannot be read
  UpstreamPaused             its work goes on without a reader: look again later
  UpstreamSilent             its stream has said nothing for so long that the connection may be dead
  UpstreamUnusable           its answer cannot be taken
    UpstreamOversized        it is larger, or nested deeper, than we keep
    UpstreamInvalid          it is no response object
StoreError                   storage's doing
  Conflict                   another write came first: read again, decide again
  StoreUnavailable           storage did not answer
SettingsError                the deployment's configuration is wrong: names the setting, never its value
"""

from typing import Any


class ServiceError(Exception):
    """An error the caller is told about; the class says the status and type of the answer."""

    status = 500
    type = "server_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    def envelope(self) -> dict[str, Any]:
        """Return the body of the answer: OpenAI's error envelope, all four fields present."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class BadRequest(ServiceError):
    """The request is wrong; `param` names the field."""

    status = 400
    type = "invalid_request_error"


class Unauthorized(ServiceError):
    """No caller has the key that was presented."""

    status = 401
    type = "invalid_request_error"


class NotFound(ServiceError):
    """There is no such thing for this caller."""

    status = 404
    type = "invalid_request_error"


class MethodNotAllowed(ServiceError):
    """The path exists, the method does not."""

    status = 405
    type = "invalid_request_error"


class TooLarge(ServiceError):
    """The request is over a size limit."""

    status = 413
    type = "invalid_request_error"


class UnsupportedMediaType(ServiceError):
    """The body is not JSON by its own word."""

    status = 415
    type = "invalid_request_error"


class Unavailable(ServiceError):
    """Something this service needs does not answer; the caller may try again."""

    status = 503


class Misconfigured(ServiceError):
    """Something that the deployment brings along cannot be used; what is wrong with it is in the log."""


class RefusedByUpstream(ServiceError):
    """The upstream's own 4xx about the request, passed on with its status and words."""

    def __init__(self, refusal: "UpstreamRefused") -> None:
        super().__init__(refusal.message, param=refusal.param, code=refusal.code)
        self.status = refusal.status
        self.type = "invalid_request_error"


class UpstreamError(Exception):
    """The upstream did not give a step."""


class UpstreamRefused(UpstreamError):
    """A 4xx about the request itself: another try would be answered the same."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(f"upstream refused with status {status}")
        self.status = status
        self.message = message
        self.param = param
        self.code = code


class UpstreamUnavailable(UpstreamError):
    """No usable answer: unreachable, too slow, overloaded, or our credentials are not accepted."""

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class UpstreamMissing(UpstreamError):
    """The upstream answers 404 for a token it gave, or has no such stream of it."""


class UpstreamBroken(UpstreamError):
    """A stream of the upstream ended before its terminal event, or holds what is no event."""


class UpstreamPaused(UpstreamError):
    """Nothing is to be done for the work now, which goes on elsewhere; no failure, and nothing is begun anew."""


class UpstreamSilent(UpstreamError):
    """A stream of the upstream has been silent for longer than its keepalives allow; the work may well go on."""


class UpstreamUnusable(UpstreamError):
    """The upstream answered, and its answer cannot be taken: how a response fails for it, and in which words."""

    code: str
    message: str

    def __init__(self) -> None:
        super().__init__(self.message)


class UpstreamOversized(UpstreamUnusable):
    """The upstream's answer is larger, or nested deeper, than the limits."""

    code = "output_too_large"
    message = "The upstream's answer is larger than this service keeps."


class UpstreamInvalid(UpstreamUnusable):
    """The upstream's answer is a success, and no response object."""

    code = "upstream_invalid"
    message = "The upstream's answer is no response object."


class StoreError(Exception):
    """Storage did not do what was asked."""


class Conflict(StoreError):
    """Another write came first; `gone` is the row key of the row that was missing, if one was."""

    def __init__(self, gone: str | None = None) -> None:
        super().__init__("another write came first")
        self.gone = gone


class StoreUnavailable(StoreError):
    """Storage did not answer, or answered with a fault of its own."""


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it and never shows a secret."""
