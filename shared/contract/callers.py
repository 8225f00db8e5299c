"""Callers: the clients that may use the service, configured as one JSON secret.

Each element has the name of a caller, the SHA-256 digests of its API keys, its signing secrets, the hosts that its
callbacks may go to, and its limits. Current secrets come first, then previous ones with the time of their end. Without
hosts, callbacks may go to any host that the URL policy allows.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from shared.contract.signatures import check_secret
from shared.core.errors import SettingsError, Unauthorized

# Our own headers come first, because with Entra ID in front `Authorization` holds the platform's token.
_HEADERS = ("api-key", "x-functions-key", "authorization")
MAX_HOLD_S = 95.0
_MOST = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_S = 253_402_300_799  # the end of the year 9999, so a time given in milliseconds is rejected


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """A secret that signs a caller's callbacks.

    A current secret has no end. A previous one signs until `until_ms`, in unix milliseconds.
    """

    text: str = field(repr=False)
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CallerLimits:
    """What a caller may use at most. None is no limit of its own."""

    max_body_bytes: int | None = None
    requests_per_minute: int | None = None  # of one process, for creates and erasures
    max_in_flight: int | None = None  # over all processes: its responses that have not ended
    max_streams: int | None = None  # of one process: its open streams and waiting calls


@dataclass(frozen=True, slots=True)
class Caller:
    """A client that may use the service."""

    name: str
    keys: tuple[bytes, ...] = field(repr=False)  # SHA-256 digests
    secrets: tuple[SigningSecret, ...] = field(repr=False)
    callback_hosts: tuple[str, ...] = ()
    limits: CallerLimits = CallerLimits()
    is_operator: bool = False  # may see and act on what belongs to all callers
    hold_s: float | None = None  # how long its clients, which bound the whole body, get no byte of a foreground call

    def signing(self, now_ms: int) -> tuple[str, ...]:
        """Return the secrets that sign at a time in unix milliseconds, the current ones first."""
        current = [secret.text for secret in self.secrets if secret.until_ms is None]
        previous = [secret.text for secret in self.secrets if secret.until_ms is not None and now_ms < secret.until_ms]
        return (*current, *previous)


class Callers:
    """All callers of the deployment."""

    def __init__(self, callers: Sequence[Caller]) -> None:
        self._by_name = {caller.name: caller for caller in callers}
        self._keys = [(digest, caller) for caller in callers for digest in caller.keys]

    @property
    def first(self) -> Caller:
        """The first caller in the setting."""
        return next(iter(self._by_name.values()))

    def names(self) -> list[str]:
        """Return the names of all callers."""
        return list(self._by_name)

    def named(self, name: str) -> Caller | None:
        """Return the caller with this name, or None."""
        return self._by_name.get(name)

    def authenticate(self, headers: Mapping[str, str]) -> Caller:
        """Return the caller whose key the headers carry. Raises Unauthorized if no caller has it.

        Every configured key is compared, each in constant time, so that the time reveals nothing.
        """
        key, found = _key(headers), None
        presented = hashlib.sha256(key.encode()).digest()
        for digest, caller in self._keys if key else ():
            if hmac.compare_digest(digest, presented):
                found = caller
        if found is None:
            raise Unauthorized(
                "Incorrect API key provided. Send it as 'Authorization: Bearer', 'api-key' or 'x-functions-key'.",
                code="invalid_api_key",
            )
        return found


def parse_callers(text: str) -> Callers:
    """Return the callers that the JSON secret configures.

    Raises SettingsError, which names the rule that is broken and shows nothing of the secret.
    """
    try:
        elements = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise SettingsError("CALLERS is not valid JSON") from None
    if not isinstance(elements, list) or not elements:
        raise SettingsError("CALLERS must be a JSON list of at least one caller")
    callers = [_caller(n, element) for n, element in enumerate(elements)]
    if len({caller.name for caller in callers}) < len(callers):
        raise SettingsError("CALLERS names a caller twice")
    digests = [digest for caller in callers for digest in caller.keys]
    if len(set(digests)) < len(digests):
        raise SettingsError("CALLERS has the same key twice")
    return Callers(callers)


def _caller(n: int, element: object) -> Caller:
    where = f"CALLERS[{n}]"
    if not isinstance(element, dict):
        raise SettingsError(f"{where} must be an object")
    name = element.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 64:
        raise SettingsError(f"{where}.name must be a string of 1 to 64 characters")
    return Caller(
        name,
        tuple(_digest(where, text) for text in _texts(where, element, "keys")),
        _secrets(f"{where}.signing_secrets", element.get("signing_secrets", [])),
        tuple(_texts(where, element, "callback_hosts")),
        CallerLimits(**{one.name: _count(where, element, one.name) for one in fields(CallerLimits)}),
        _is_operator(where, element.get("role")),
        _hold(where, element.get("hold_s")),
    )


def _count(where: str, element: dict[str, Any], name: str) -> int | None:
    value = element.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MOST):
        raise SettingsError(f"{where}.{name} must be a whole number from 1 to {_MOST}")
    return value


def _is_operator(where: str, role: object) -> bool:
    if role not in (None, "operator"):
        raise SettingsError(f"{where}.role must be 'operator', or be left out")
    return role == "operator"


def _hold(where: str, value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None:
        return None
    if not is_number or not 1 <= float(str(value)) <= MAX_HOLD_S:
        raise SettingsError(f"{where}.hold_s must be a number of seconds from 1 to {MAX_HOLD_S:g}")
    return float(str(value))


def _texts(where: str, element: dict[str, Any], name: str) -> list[str]:
    values = element.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise SettingsError(f"{where}.{name} must be a list of strings")
    return values


def _digest(where: str, text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise SettingsError(f"{where}.keys must hold SHA-256 digests, 64 hex digits each, never keys")
    if digest == hashlib.sha256(b"").digest():
        raise SettingsError(f"{where}.keys holds the digest of an empty key, which would let everybody in")
    return digest


def _secrets(where: str, values: object) -> tuple[SigningSecret, ...]:
    if not isinstance(values, list):
        raise SettingsError(f"{where} must be a list")
    secrets = tuple(_secret(f"{where}[{n}]", value) for n, value in enumerate(values))
    if secrets and secrets[0].until_ms is not None:
        raise SettingsError(f"{where} must begin with a current secret, one without 'until'")
    return secrets


def _secret(where: str, value: object) -> SigningSecret:
    given = value if isinstance(value, dict) else {"secret": value}
    text = given.get("secret")
    # a misspelt field must not turn a previous secret into a current one
    if not isinstance(text, str) or not given.keys() <= {"secret", "until"}:
        raise SettingsError(f"{where} must be a string, or an object of 'secret' and 'until'")
    try:
        check_secret(text)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from None
    return SigningSecret(text, _until_ms(where, given["until"]) if "until" in given else None)


def _until_ms(where: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LAST_S:
        return value * 1000
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        when = None
    if when is None or when.utcoffset() is None:
        raise SettingsError(f"{where}.until must be a time in ISO 8601 with its zone, or in Unix seconds")
    return (when - _EPOCH) // timedelta(milliseconds=1)


def _key(headers: Mapping[str, str]) -> str:
    for name in _HEADERS:
        value = headers.get(name, "")
        if name == "authorization":
            scheme, _, value = value.partition(" ")
            value = value.strip() if scheme.lower() == "bearer" else ""
        if value:
            return value
    return ""
