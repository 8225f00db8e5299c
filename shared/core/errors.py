"""The exceptions of the service, grouped by whose fault they are.

ServiceError                 sent to the caller, in OpenAI's envelope
  BadRequest                 400, names the field
  Unauthorized               401
  NotFound                   404, also for another caller's response
  MethodNotAllowed           405
  TooLarge                   413
  UnsupportedMediaType       415
  Unavailable                503, something the service needs does not answer: try again
  Misconfigured              500, something in the deployment is broken
  RefusedByUpstream          the upstream's own 4xx about the request
  others                     are beside the one place that raises them: Forbidden 403, TooManyRequests 429, and in
                             functions/answers.py TooSlow 408, UpgradeRequired 426 and RefusedByStorage, a final 500
UpstreamError                the upstream's fault
  UpstreamRefused            it rejects the request, and would reject it again
  UpstreamUnavailable        it cannot be asked now, and has begun nothing: try again
    UpstreamUncertain        it gave no usable answer, and may have begun the work
  UpstreamMissing            it does not know the response, or has no stream of it
  UpstreamBroken             its stream broke off, or cannot be read
  UpstreamPaused             its work goes on without a reader: look again later
  UpstreamSilent             its stream has been silent for so long that the connection may be dead
  UpstreamFailed             it reported an error in words
  UpstreamUnusable           its answer cannot be used
    UpstreamOversized        it is larger, or nested deeper, than we keep
    UpstreamRedirected       it names another address, which we never follow
    UpstreamInvalid          it is not a response object
      UpstreamUndecodable    it is compressed in another way than it says, or than was asked for
      UpstreamUnnamed        it is one of unfinished work, and has no id to ask for
StreamBroken                 an answer ends before its response: its connection must break
StoreError                   storage's fault
  Conflict                   another write came first: read again, decide again
  StoreRefused               storage refuses what it is asked, and would refuse it again
  StoreUnavailable           storage did not answer
    StoreIncomplete          a table or queue of ours does not exist
Unreadable                   stored data that this version cannot read
  UnreadableRow              a row of the table
  UnreadableMessage          a queue message
SettingsError                the configuration is wrong: names the setting, never its value
"""

from typing import Any

from shared.core.states import WaitReason


class ServiceError(Exception):
    """An error that is sent to the caller. The class gives the HTTP status and the type of the error.

    `param` is the field that is wrong, `code` is for programs, and `retry_after_s` becomes the Retry-After header.
    """

    status = 500
    type = "server_error"
    is_final = False  # whether it is known that no repeat of the request has another answer

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.retry_after_s = message, param, code, retry_after_s

    def envelope(self) -> dict[str, Any]:
        """Return the body of the answer: OpenAI's error envelope. Its four fields are always present."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class BadRequest(ServiceError):
    """The request is wrong. `param` names the field."""

    status = 400
    type = "invalid_request_error"


class Unauthorized(ServiceError):
    """No caller has the key that was presented."""

    status = 401
    type = "invalid_request_error"


class NotFound(ServiceError):
    """The caller has no such object."""

    status = 404
    type = "invalid_request_error"


class MethodNotAllowed(ServiceError):
    """The path exists, but not with this method."""

    status = 405
    type = "invalid_request_error"


class TooLarge(ServiceError):
    """The request is over a size limit."""

    status = 413
    type = "invalid_request_error"


class UnsupportedMediaType(ServiceError):
    """The Content-Type or Content-Encoding of the body is not accepted."""

    status = 415
    type = "invalid_request_error"


class Unavailable(ServiceError):
    """Something that this service needs does not answer. The caller may try again."""

    status = 503


class Misconfigured(ServiceError):
    """Something in the deployment cannot be used. The log says what is wrong with it."""


class RefusedByUpstream(ServiceError):
    """The upstream's own 4xx about the request, passed on with its status and message."""

    is_final = True

    def __init__(self, refusal: "UpstreamRefused") -> None:
        super().__init__(refusal.message, param=refusal.param, code=refusal.code)
        self.status = refusal.status
        self.type = refusal.type or "invalid_request_error"


class UpstreamError(Exception):
    """A call to the upstream failed. The next try waits `retry_after_s`, and for the reason `waits_for`, if any."""

    retry_after_s: float | None = None
    waits_for: WaitReason | None = None


class UpstreamRefused(UpstreamError):
    """The upstream answered with a status that no other try would change, such as a 4xx. The fields are its own."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, kind: str | None = None
    ) -> None:
        super().__init__(f"upstream refused with status {status}")
        self.status, self.message, self.param, self.code, self.type = status, message, param, code, kind

    @property
    def is_for_caller(self) -> bool:
        """Whether the caller may be answered with this status. A redirect or a 5xx is not about the request."""
        return 400 <= self.status < 500


class UpstreamUnavailable(UpstreamError):
    """It is unreachable or overloaded, or rejects our credentials. Another try may succeed, and no work has begun."""

    def __init__(
        self, why: str, *, retry_after_s: float | None = None, waits_for: WaitReason | None = WaitReason.UPSTREAM_DOWN
    ) -> None:
        super().__init__(why)
        self.retry_after_s, self.waits_for = retry_after_s, waits_for


class UpstreamUncertain(UpstreamUnavailable):
    """The upstream gave no usable answer, and a create may have begun the work. `code` and `message` are its own."""

    def __init__(
        self, why: str, *, retry_after_s: float | None = None, code: str | None = None, message: str | None = None
    ) -> None:
        super().__init__(why, retry_after_s=retry_after_s)
        self.code, self.message = code, message


class UpstreamMissing(UpstreamError):
    """The upstream answers 404 for a token that it issued, or has no stream for it."""


class UpstreamBroken(UpstreamError):
    """A stream of the upstream ended before its terminal event, or contains something that is not an event."""


class UpstreamPaused(UpstreamError):
    """The work goes on elsewhere and needs no reader now. This is not a failure."""


class UpstreamSilent(UpstreamError):
    """A stream of the upstream has been silent for longer than its keepalives allow. The work may go on."""


class UpstreamFailed(UpstreamError):
    """The upstream reported an error in words, in its stream or in a 2xx answer. The fields are its own."""

    waits_for = WaitReason.UPSTREAM_DOWN

    def __init__(self, code: str, message: str, *, param: str | None = None, kind: str | None = None) -> None:
        super().__init__("the upstream reported an error")
        self.code, self.message, self.param, self.type = code, message, param, kind


class UpstreamUnusable(UpstreamError):
    """The upstream answered, but the answer cannot be used. `code` and `message` are sent to the caller."""

    code: str
    message: str
    waits_for: WaitReason | None = WaitReason.UPSTREAM_DOWN

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)
        self.message = message or self.message


class UpstreamOversized(UpstreamUnusable):
    """The upstream's answer is larger, or nested deeper, than the limits allow."""

    code = "output_too_large"
    message = "The upstream's answer is larger than this service keeps."
    waits_for = None


class UpstreamRedirected(UpstreamUnusable):
    """The upstream answered with a redirect, which is never followed, because it would get our credentials."""

    code = "upstream_redirected"
    message = "The upstream's address has changed: it answers with a redirect, which is not followed."


class UpstreamInvalid(UpstreamUnusable):
    """The upstream answered with a success status, but not with a response object."""

    code = "upstream_invalid"
    message = "The upstream's answer is not a response object."


class UpstreamUndecodable(UpstreamInvalid):
    """The upstream's answer is damaged inside its compression, or compressed in a way that was not asked for."""

    message = "The upstream's answer cannot be decompressed."


class UpstreamUnnamed(UpstreamInvalid):
    """The upstream has begun work under an id that cannot be asked for. Another try would only begin more of it."""

    message = "The upstream's answer is about unfinished work, and has no id to ask for."


class StreamBroken(Exception):
    """An answer ends before its response. Its connection must break, as a clean end looks like the whole."""


class StoreError(Exception):
    """Storage did not carry out an operation. `advice` tells the caller what that means for the request."""

    advice = "Storage is not available; try again."


class Conflict(StoreError):
    """Another write came first. `gone` is the key of a row that the write expected and that is missing, or None."""

    def __init__(self, gone: str | None = None) -> None:
        super().__init__("another write came first")
        self.gone = gone


class StoreRefused(StoreError):
    """Storage refuses an operation that it would refuse again, such as a message or a row that is too large."""

    advice = "Storage does not take this. Sending it again is in vain."


class StoreUnavailable(StoreError):
    """Storage did not answer, or answered with an error."""

    was_sent = True  # whether what was to be written may have arrived


class StoreIncomplete(StoreUnavailable):
    """Something of ours is not in storage. `missing` names it, such as "table responses" or "queue runs"."""

    def __init__(self, missing: "list[str]") -> None:
        super().__init__("storage is incomplete")
        self.missing = missing


class Unreadable(Exception):
    """Stored data that this version of the service cannot read."""


class UnreadableRow(Unreadable):
    """A row of the table whose columns do not have the expected types. The message names the column, not its value."""


class UnreadableMessage(Unreadable):
    """A queue message that does not have the form of its queue's messages. `body` has the bytes received."""

    def __init__(self, reason: str, body: bytes) -> None:
        super().__init__(reason)
        self.body = body


class SettingsError(Exception):
    """A setting is missing or wrong. The message names the setting and never shows a secret."""
