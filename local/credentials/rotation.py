"""The rotation of a caller's signing secrets: new ones sign at once, and old ones keep signing for a while."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

from local.credentials.keys import new_private_key, new_signing_secret
from local.stack.process import PartError
from shared.contract import callers
from shared.contract.callers import Caller, SigningSecret
from shared.contract.signatures import is_asymmetric
from shared.core.errors import SettingsError


@dataclass(frozen=True)
class Rotation:
    """The new CALLERS setting, and the secrets that are new in it."""

    setting: str = field(repr=False)
    fresh: tuple[str, ...] = field(repr=False)


def rotated(setting: str, name: str, now_s: int, grace_s: int) -> Rotation:
    """Add a new secret for each kind that is current. The current secrets keep signing until the grace period ends.

    Previous secrets keep their end time and are dropped once it has passed. Everything else in the setting stays as it
    is.
    """
    caller = _caller(setting, name)
    kinds = dict.fromkeys(is_asymmetric(secret.text) for secret in caller.secrets if secret.until_ms is None)
    if not kinds:
        raise PartError("settings", f"caller {name!r} has no signing secret")
    fresh = tuple(new_private_key() if asymmetric else new_signing_secret() for asymmetric in kinds)
    elements = json.loads(setting)
    (element,) = (one for one in elements if one["name"] == name)
    pairs = zip(element["signing_secrets"], caller.secrets, strict=True)
    kept = [_previous(value, secret, now_s + grace_s) for value, secret in pairs if _lasts(secret, now_s, grace_s)]
    element["signing_secrets"] = [*fresh, *kept]
    return Rotation(json.dumps(elements), fresh)


def _caller(setting: str, name: str) -> Caller:
    try:
        caller = callers.parse_callers(setting).named(name)
    except SettingsError as error:
        raise PartError("settings", str(error)) from None
    if caller is None:
        raise PartError("settings", f"CALLERS names no caller {name!r}")
    return caller


def _lasts(secret: SigningSecret, now_s: int, grace_s: int) -> bool:
    return grace_s > 0 if secret.until_ms is None else secret.until_ms > now_s * 1000


def _previous(value: object, secret: SigningSecret, until_s: int) -> object:
    if secret.until_ms is not None:
        return value
    return {"secret": secret.text, "until": datetime.fromtimestamp(until_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
