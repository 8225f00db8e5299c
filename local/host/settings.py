"""host.json and the app settings, as far as a local host uses them."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.host.errors import LoadError

_SETTING = re.compile(r"%([^%]+)%")
_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?")


@dataclass(frozen=True)
class QueueSettings:
    """`extensions.queues` of host.json. The polling interval defaults to that of a development machine."""

    batch_size: int = 16
    new_batch_threshold: int = 8 * (os.cpu_count() or 1)
    max_dequeue_count: int = 5
    visibility_timeout_s: float = 0
    max_polling_interval_s: float = 2
    base64: bool = True


@dataclass(frozen=True)
class HostSettings:
    """The parts of host.json that this host uses."""

    route_prefix: str = "api"
    queues: QueueSettings = field(default_factory=QueueSettings)


def read_host_json(path: Path) -> HostSettings:
    """Return the settings in host.json. Raise LoadError for a missing or invalid file or value."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise LoadError(f"{path.name} is missing from the app's directory") from None
    except ValueError as error:
        raise LoadError(f"{path.name} is not JSON: {error}") from None
    return host_settings(document)


def host_settings(document: object) -> HostSettings:
    """Return the settings of a parsed host.json."""
    top = _section(document, "host.json")
    if top.get("version") != "2.0":
        raise LoadError('host.json: version must be "2.0"')
    extensions = _section(top.get("extensions", {}), "extensions")
    http = _section(extensions.get("http", {}), "extensions.http")
    queues = _section(extensions.get("queues", {}), "extensions.queues")
    return HostSettings(_route_prefix(http), _queue_settings(queues))


def resolve(text: str, environment: Mapping[str, str]) -> str:
    """Replace every %SETTING% in a binding's text with the value of that setting."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in environment:
            raise LoadError(f"{found[0]} does not resolve to a value: no such setting")
        return environment[found[1]]

    return _SETTING.sub(value, text)


def _section(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise LoadError(f"host.json: {name} must be an object")
    return value


def _route_prefix(http: Mapping[str, Any]) -> str:
    prefix = http.get("routePrefix", "api")
    if not isinstance(prefix, str):
        raise LoadError("host.json: routePrefix must be a string")
    return prefix.strip("/")


def _queue_settings(queues: Mapping[str, Any]) -> QueueSettings:
    batch_size = _integer(queues, "batchSize", 16, lowest=1, highest=32)
    interval_s = _seconds(queues, "maxPollingInterval", QueueSettings.max_polling_interval_s)
    if interval_s < 0.1:
        raise LoadError("host.json: maxPollingInterval must be at least 100 ms")
    return QueueSettings(
        batch_size=batch_size,
        new_batch_threshold=_integer(queues, "newBatchThreshold", batch_size // 2 * (os.cpu_count() or 1), lowest=0),
        max_dequeue_count=_integer(queues, "maxDequeueCount", 5, lowest=1),
        visibility_timeout_s=_seconds(queues, "visibilityTimeout", 0),
        max_polling_interval_s=interval_s,
        base64=_is_base64(queues.get("messageEncoding", "base64")),
    )


def _integer(queues: Mapping[str, Any], name: str, default: int, *, lowest: int, highest: int | None = None) -> int:
    value = queues.get(name, default)
    if type(value) is not int or value < lowest or (highest is not None and value > highest):
        limit = f"from {lowest} to {highest}" if highest is not None else f"of at least {lowest}"
        raise LoadError(f"host.json: {name} must be an integer {limit}")
    return value


def _seconds(queues: Mapping[str, Any], name: str, default: float) -> float:
    if name not in queues:
        return default
    found = _TIME_SPAN.fullmatch(str(queues[name]))
    if found is None:
        raise LoadError(f"host.json: {name} must be a time span such as 00:00:02")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _is_base64(encoding: object) -> bool:
    known = {"base64": True, "none": False}
    if not isinstance(encoding, str) or encoding.lower() not in known:
        raise LoadError("host.json: messageEncoding must be base64 or none")
    return known[encoding.lower()]
