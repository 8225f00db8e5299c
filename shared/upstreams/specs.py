"""What a deployment says about its upstreams: where they are, which models they serve, and how they are treated."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import orjson

from shared.contract.signatures import verifying_key
from shared.core.backoff import POLL_MIN_MS
from shared.core.errors import SettingsError

DEFAULT = "default"
SCOPE = "https://cognitiveservices.azure.com/.default"
ANY = "*"
ANNOUNCED_POLL_MS = 60_000  # between two polls of an upstream that announces its ends
MAX_UPSTREAMS = 32
MAX_IN_FLIGHT = 100_000
_NAME = re.compile("[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_VERSION = re.compile("[A-Za-z0-9.-]{1,40}")
_HEADER = re.compile("[A-Za-z0-9-]{1,100}")
_OURS = frozenset(
    {"host", "content-length", "content-type", "accept", "accept-encoding", "idempotency-key", "connection"}
)
_SETTING = re.compile("[A-Za-z_][A-Za-z0-9_]{0,99}")
_MEMBERS = frozenset(
    {
        *("name", "models", "base_url", "mode", "key_setting", "scope", "api_version", "headers", "secret_headers"),
        *("webhook_secret_setting", "honours_idempotency_key", "max_in_flight", "rename", "then"),
    }
)
Secret = Callable[[str], str | None]
"""Returns the value of the setting of this name, or None."""


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """One upstream of the deployment. docs/upstreams.md says what each member means.

    Without a key, calls have an Entra ID token for `scope`, if there is one. `limits` are the most responses that it
    works on at once, by pattern of models. `rename` gives the upstream's names of models by those of callers.
    """

    name: str = DEFAULT
    models: tuple[str, ...] = (ANY,)
    base_url: str = ""
    is_background: bool = True
    api_key: str | None = field(default=None, repr=False)
    scope: str = SCOPE
    api_version: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    honours_keys: bool = False  # whether it starts once per Idempotency-Key
    limits: Mapping[str, int] = field(default_factory=dict, hash=False)
    rename: Mapping[str, str] = field(default_factory=dict, hash=False)
    then: tuple[str, ...] = ()  # the names of the upstreams to try if this one cannot begin

    @property
    def announces_ends(self) -> bool:
        """Whether its webhooks announce the ends of its work, so that polls are a safety net."""
        return bool(self.webhook_secrets)

    @property
    def poll_min_ms(self) -> int:
        """The minimum wait between two polls of a response."""
        return ANNOUNCED_POLL_MS if self.announces_ends else POLL_MIN_MS

    @property
    def known_name(self) -> str:
        """The name that a record has. The default upstream has none there, as in records of older releases."""
        return "" if self.name == DEFAULT else self.name

    def serves(self, model: str | None) -> bool:
        """Return whether it serves a model. A request without a model goes where all models are served."""
        return any(_matches(pattern, model) for pattern in self.models)

    def limit_of(self, model: str | None) -> str:
        """Return the pattern whose limit counts for a model, if there is one: one that names it, or the one of all."""
        return next((pattern for pattern in self.limits if pattern != ANY and _matches(pattern, model)), ANY)

    def renamed(self, model: str | None) -> str:
        """Return the upstream's name of a model if it is another one than the caller's, or an empty string."""
        return self.rename.get(model, "") if model else ""


def _matches(pattern: str, model: str | None) -> bool:
    return pattern == ANY or (model is not None and _expression(pattern).fullmatch(model) is not None)


@lru_cache(1_024)
def _expression(pattern: str) -> re.Pattern[str]:
    """Return the expression of a pattern. Each part between two stars is found once, so that many stars cost little."""
    first, *parts = map(re.escape, pattern.split(ANY))
    between, last = parts[:-1], parts[-1:]
    expression = [first, *(f"(?>.*?{part})" for part in between), *(f".*{part}" for part in last)]
    return re.compile("".join(expression), re.DOTALL)


# The setting


def parse_upstreams(text: str, secret: Secret) -> tuple[UpstreamSpec, ...]:
    """Return the upstreams that the JSON text of the setting `UPSTREAMS` names, in its order.

    `secret` returns the value of a setting by its name. Raises SettingsError naming the member that is wrong.
    """
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise SettingsError(f"UPSTREAMS is not JSON: {error}") from None
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_UPSTREAMS:
        raise SettingsError(f"UPSTREAMS must be a JSON list of 1 to {MAX_UPSTREAMS} upstreams")
    return tuple(_Entry(f"UPSTREAMS[{place}]", one, secret).spec() for place, one in enumerate(given))


def check_together(specs: Sequence[UpstreamSpec]) -> tuple[UpstreamSpec, ...]:
    """Return upstreams that fit together. Raise SettingsError if a name is there twice, or `then` is wrong."""
    by_name = {spec.name: spec for spec in specs}
    if len(by_name) < len(specs):
        raise SettingsError("UPSTREAMS has a name twice")
    for spec in specs:
        for name in spec.then:
            _check_next(spec, by_name.get(name))
    return tuple(specs)


def _check_next(spec: UpstreamSpec, other: UpstreamSpec | None) -> None:
    where = f"UPSTREAMS: 'then' of '{spec.name}'"
    if other is None or other is spec:
        raise SettingsError(f"{where} must have names of other upstreams")
    if other.is_background is not spec.is_background:
        raise SettingsError(f"{where} must have upstreams of the same mode, and '{other.name}' is not")


class _Entry:
    """One entry of the setting. Every method returns one member, or raises SettingsError naming it."""

    def __init__(self, where: str, given: Any, secret: Secret) -> None:
        if not isinstance(given, dict):
            raise SettingsError(f"{where} must be an object")
        if unknown := sorted(given.keys() - _MEMBERS):
            raise SettingsError(f"{where}.{unknown[0][:40]} is not known")
        self._where, self._given, self._secret = where, given, secret

    def spec(self) -> UpstreamSpec:
        return UpstreamSpec(
            name=self._text("name", _NAME, "1 to 32 lower-case letters, digits and hyphens"),
            models=self._texts("models", (ANY,)),
            base_url=self._url(),
            is_background=self._mode(),
            api_key=self._named_secret("key_setting", self._given.get("key_setting")),
            scope=self._scope(),
            api_version=self._text("api_version", _VERSION, "a version such as preview", ""),
            headers=self._headers(),
            webhook_secrets=self._webhook_secrets(),
            honours_keys=self._flag("honours_idempotency_key"),
            limits=self._limits(),
            rename=self._mapping("rename"),
            then=self._texts("then", ()),
        )

    def _scope(self) -> str:
        """Return the scope of tokens. Calls that have a secret header need no token, unless a scope is given."""
        default = "" if self._given.get("secret_headers") else SCOPE
        return self._text("scope", re.compile(r"\S{1,300}"), f"a scope such as {SCOPE}", default)

    def _wrong(self, member: str, expected: str) -> SettingsError:
        return SettingsError(f"{self._where}.{member} must be {expected}")

    def _text(self, member: str, pattern: re.Pattern[str], expected: str, default: str | None = None) -> str:
        text = self._given.get(member, default)
        if text == default is not None:
            return default
        if not (isinstance(text, str) and pattern.fullmatch(text)):
            raise self._wrong(member, expected)
        return text

    def _texts(self, member: str, default: tuple[str, ...]) -> tuple[str, ...]:
        texts = self._given.get(member, list(default))
        if not isinstance(texts, list) or not all(map(_is_text, texts)):
            raise self._wrong(member, "a list of names")
        if default and not texts:
            raise self._wrong(member, "a list with at least one name")
        return tuple(texts)

    def _url(self) -> str:
        text = self._given.get("base_url")
        if not isinstance(text, str) or not is_base_url(text):
            raise self._wrong("base_url", "a URL such as https://api.openai.com/v1")
        return text

    def _mode(self) -> bool:
        mode = self._given.get("mode", "background")
        if mode not in ("background", "foreground"):
            raise self._wrong("mode", "background or foreground")
        return bool(mode == "background")

    def _flag(self, member: str) -> bool:
        flag = self._given.get(member, False)
        if not isinstance(flag, bool):
            raise self._wrong(member, "true or false")
        return flag

    def _mapping(self, member: str) -> Mapping[str, str]:
        given = self._given.get(member, {})
        if not isinstance(given, dict) or not all(map(_is_text, given.values())):
            raise self._wrong(member, "an object of texts")
        return dict(given)

    def _named_secret(self, member: str, setting: object) -> str | None:
        """Return the value of the setting that a member names, or None if it names none."""
        if setting is None:
            return None
        if not isinstance(setting, str) or not _SETTING.fullmatch(setting):
            raise self._wrong(member, "the name of a setting")
        value = (self._secret(setting) or "").strip()
        if not value:
            raise SettingsError(f"{self._where}.{member} names the setting {setting}, which is not set")
        if not (value.isascii() and value.isprintable()):
            raise SettingsError(f"{setting} must be printable ASCII")
        return value

    def _headers(self) -> Mapping[str, str]:
        plain, secret = self._mapping("headers"), self._mapping("secret_headers")
        for member, names in (("headers", plain), ("secret_headers", secret)):
            if not all(_HEADER.fullmatch(name) and name.lower() not in _OURS for name in names):
                raise self._wrong(member, "headers that this service does not set itself")
        if not all(value.isascii() and value.isprintable() for value in plain.values()):
            raise self._wrong("headers", "headers of printable ASCII")
        secrets = {name: self._named_secret("secret_headers", setting) or "" for name, setting in secret.items()}
        return {**plain, **secrets}

    def _webhook_secrets(self) -> tuple[str, ...]:
        member = "webhook_secret_setting"
        text = self._named_secret(member, self._given.get(member))
        return webhook_secrets(text, str(self._given.get(member)))

    def _limits(self) -> Mapping[str, int]:
        given = self._given.get("max_in_flight", {})
        limits = given if isinstance(given, dict) else {ANY: given}
        if not all(type(one) is int and 1 <= one <= MAX_IN_FLIGHT for one in limits.values()):
            raise self._wrong("max_in_flight", f"a number from 1 to {MAX_IN_FLIGHT}, or an object of them by model")
        return limits


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 256


def is_base_url(text: str) -> bool:
    """Return whether a text can be the base URL of an upstream."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises if it is not a number
    except ValueError:
        return False
    return parts.scheme in ("https", "http") and bool(parts.hostname) and not (parts.query or parts.fragment)


def webhook_secrets(text: str | None, setting: str) -> tuple[str, ...]:
    """Return the secrets that sign an upstream's webhooks: one, or two during a rotation, separated by a comma."""
    secrets = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    for secret in secrets:
        try:
            verifying_key(secret)
        except ValueError as error:
            raise SettingsError(f"{setting}: {error}") from None
    return secrets


def parse_limit(text: str, setting: str) -> Mapping[str, int]:
    """Return how many responses an upstream works on at once, of all models, or nothing for an empty text."""
    text = text.strip()
    if not text:
        return {}
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MAX_IN_FLIGHT):
        raise SettingsError(f"{setting} must be a number from 1 to {MAX_IN_FLIGHT}")
    return {ANY: int(text)}
