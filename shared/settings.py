"""The settings of a deployment. Only this module reads the environment."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from shared.contract.callers import Callers, parse_callers
from shared.core.errors import SettingsError
from shared.core.prices import Price, parse_prices
from shared.upstreams.specs import (
    SCOPE,
    Secret,
    UpstreamSpec,
    check_together,
    is_base_url,
    parse_limit,
    parse_upstreams,
    webhook_secrets,
)

_UNRESOLVED = "@Microsoft.KeyVault("
APP = Path(__file__).resolve().parent.parent  # the folder of the app
_DAY_S = 86_400
_FILE = re.compile(r"[A-Za-z0-9_-]{1,100}\.json")
_SUFFIX = re.compile(r"[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,8}")
_DECIMAL = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
_EMULATOR_ACCOUNT = "devstoreaccount1"
# The key of every Azurite. Microsoft has published it.
_EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_EMULATOR_PORTS = {"Blob": 10000, "Queue": 10001, "Table": 10002}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a deployment. docs/settings.md says what each one means."""

    callers: Callers
    upstreams: tuple[UpstreamSpec, ...]  # those of `UPSTREAMS`, and then the one of the `UPSTREAM_...` settings
    storage_connection: str | None = field(repr=False)
    storage_table_uri: str | None
    storage_queue_uri: str | None
    identity_client_id: str | None
    deadline_s: int
    retention_s: int
    foreground_hold_s: float
    stream_max_s: float
    stream_heartbeat_s: float
    reply_queues: tuple[str, ...]
    requests_caller: str
    allow_loopback: bool
    agents_module: str
    watch: bool
    console: bool
    prices: Mapping[str, Price]
    own_hosts: frozenset[str]  # never called back, because they are the platform's identity endpoint and this app


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read and check all settings. Raise SettingsError naming the first one that is missing or wrong."""
    connection = _secret(environment, "AzureWebJobsStorage")
    table_uri, queue_uri = _storage_uris(environment)
    if not connection and not table_uri:
        raise SettingsError("AzureWebJobsStorage or AzureWebJobsStorage__accountName must be set")
    telemetry_target(environment)
    known = parse_callers(_secret(environment, "CALLERS") or _missing("CALLERS"))
    upstreams = _upstreams(environment)
    return Settings(
        callers=known,
        upstreams=upstreams,
        stream_max_s=_decimal(environment, "STREAM_MAX_S", 21_000.0, most=21_000.0),
        foreground_hold_s=_decimal(environment, "FOREGROUND_HOLD_S", 85.0, most=95.0),
        stream_heartbeat_s=_decimal(environment, "STREAM_HEARTBEAT_S", 15.0, most=60.0),
        storage_connection=connection,
        storage_table_uri=table_uri,
        storage_queue_uri=queue_uri,
        identity_client_id=environment.get("AZURE_CLIENT_ID") or None,
        deadline_s=_seconds(environment, "RESPONSE_DEADLINE_S", 4 * 3600, most=_longest_s(upstreams)),
        retention_s=_seconds(environment, "RETENTION_S", 30 * _DAY_S, most=3650 * _DAY_S),
        reply_queues=_listed(environment.get("REPLY_QUEUES")),
        requests_caller=_requests_caller(environment, known),
        allow_loopback=_flag(environment, "CALLBACK_ALLOW_LOOPBACK"),
        agents_module=_module(environment),
        watch=_flag(environment, "WATCH", default=True),
        console=_flag(environment, "CONSOLE"),
        prices=parse_prices(environment.get("PRICES", "")),
        own_hosts=_own_hosts(environment),
    )


def telemetry_target(environment: Mapping[str, str] = os.environ) -> str:
    """Return where traces and metrics go: `console`, `otlp`, `azure`, or an empty string for nowhere.

    Raises SettingsError for any other target, and if `azure` has no connection string. Azure's exporter reads that from
    the environment.
    """
    target = environment.get("TELEMETRY", "").strip().lower()
    insights = environment.get("APPLICATIONINSIGHTS_CONNECTION_STRING")
    if target not in ("", "console", "otlp", "azure"):
        raise SettingsError("TELEMETRY must be console, otlp or azure")
    if target == "azure" and not insights:
        raise SettingsError("APPLICATIONINSIGHTS_CONNECTION_STRING must be set where TELEMETRY is azure")
    return target


def expand_connection(text: str) -> str:
    """Return a connection string in which `UseDevelopmentStorage=true` is spelt out. Any other is returned as it is.

    `DevelopmentStorageProxyUri` names the host of the emulator, which is 127.0.0.1 without it. The clients of
    storage read the shortcut in different ways:
    https://learn.microsoft.com/azure/storage/common/storage-use-emulator#connect-to-the-emulator-account-using-the-shortcut
    """
    pairs = [part.partition("=") for part in text.split(";") if part.strip()]
    members = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if members.get("usedevelopmentstorage", "").lower() != "true":
        return text
    host = members.get("developmentstorageproxyuri", "http://127.0.0.1").rstrip("/")
    endpoints = [f"{service}Endpoint={host}:{port}/{_EMULATOR_ACCOUNT}" for service, port in _EMULATOR_PORTS.items()]
    account = [
        f"DefaultEndpointsProtocol={host.partition(':')[0]}",
        f"AccountName={_EMULATOR_ACCOUNT}",
        f"AccountKey={_EMULATOR_KEY}",
    ]
    return ";".join([*account, *endpoints])


def _storage_uris(environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return the addresses of the tables and of the queues, for an account that is reached by identity.

    Azure's other clouds have addresses of their own. There, both services are named, or one of them, or the end of
    their addresses, which Azure's extensions read, too.
    """
    account = environment.get("AzureWebJobsStorage__accountName", "").strip()
    suffix = environment.get("AzureWebJobsStorage__endpointSuffix", "").strip() or "core.windows.net"
    if not _SUFFIX.fullmatch(suffix):
        raise SettingsError("AzureWebJobsStorage__endpointSuffix must be a domain such as core.windows.net")
    named = f"https://{account}.%s.{suffix}" if account else ""
    table = _service_uri(environment, "AzureWebJobsStorage__tableServiceUri")
    queue = _service_uri(environment, "AzureWebJobsStorage__queueServiceUri")
    found = (
        table or queue.replace(".queue.", ".table.", 1) or named.replace("%s", "table"),
        queue or table.replace(".table.", ".queue.", 1) or named.replace("%s", "queue"),
    )
    if found[0] == found[1] != "":
        names = "AzureWebJobsStorage__tableServiceUri and AzureWebJobsStorage__queueServiceUri"
        raise SettingsError(f"{names} must both be set if the account has a domain of its own")
    return found[0] or None, found[1] or None


def _service_uri(environment: Mapping[str, str], name: str) -> str:
    uri = environment.get(name, "").strip().rstrip("/")
    if not uri:
        return ""
    try:
        parts = urlsplit(uri)
        _ = parts.port  # raises if it is not a number
    except ValueError:
        parts = urlsplit("")
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise SettingsError(f"{name} must be a URL such as https://ACCOUNT.table.core.windows.net")
    return uri


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _upstreams(environment: Mapping[str, str]) -> tuple[UpstreamSpec, ...]:
    """Return the upstreams of the setting `UPSTREAMS`, and last the default one of the other settings, if it is set."""
    text = (_secret(environment, "UPSTREAMS") or "").strip()
    secrets = _secrets(environment)
    listed = parse_upstreams(_content(text), secrets) if text else ()
    is_default_set = bool(environment.get("UPSTREAM_BASE_URL", "").strip())
    return check_together((*listed, _default(environment)) if is_default_set or not listed else listed)


def _secrets(environment: Mapping[str, str]) -> Secret:
    """Return a function that finds a secret by its name: in a setting of this name, or in `UPSTREAM_KEYS`."""
    try:
        keys = orjson.loads(_secret(environment, "UPSTREAM_KEYS") or "{}")
    except orjson.JSONDecodeError:
        keys = None
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
        raise SettingsError("UPSTREAM_KEYS must be a JSON object of texts")
    return lambda name: _secret(environment, name) or keys.get(name)


def _content(text: str) -> str:
    """Return the JSON text that a setting has, or that the file beside the app has which it names."""
    if text.startswith("["):
        return text
    path = APP / text
    if not _FILE.fullmatch(text) or not path.is_file():
        raise SettingsError("UPSTREAMS must be a JSON list, or the name of a JSON file beside the app")
    return path.read_text("utf-8")


def _default(environment: Mapping[str, str]) -> UpstreamSpec:
    return UpstreamSpec(
        base_url=_url(environment, "UPSTREAM_BASE_URL"),
        is_background=_mode(environment) == "background",
        api_key=_key(environment, "UPSTREAM_API_KEY"),
        scope=environment.get("UPSTREAM_SCOPE") or SCOPE,
        webhook_secrets=webhook_secrets(_secret(environment, "UPSTREAM_WEBHOOK_SECRET"), "UPSTREAM_WEBHOOK_SECRET"),
        honours_keys=_flag(environment, "UPSTREAM_HONOURS_IDEMPOTENCY_KEY"),
        limits=parse_limit(environment.get("UPSTREAM_MAX_IN_FLIGHT", ""), "UPSTREAM_MAX_IN_FLIGHT"),
    )


def _requests_caller(environment: Mapping[str, str], known: Callers) -> str:
    """Return the caller on whose behalf queued requests are made: the one in the setting, or the first caller."""
    name = environment.get("REQUESTS_CALLER", "").strip() or known.first.name
    if known.named(name) is None:
        raise SettingsError("REQUESTS_CALLER must be the name of one of the CALLERS")
    return name


def _own_hosts(environment: Mapping[str, str]) -> frozenset[str]:
    """Return the hosts of the identity endpoint and of this app. A callback to one is an attack or makes a loop."""
    endpoints = (environment.get(name, "") for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT"))
    hosts = [urlsplit(endpoint).hostname for endpoint in endpoints]
    return frozenset(host.lower() for host in (*hosts, environment.get("WEBSITE_HOSTNAME")) if host)


def _missing(name: str) -> str:
    raise SettingsError(f"{name} must be set")


def _secret(environment: Mapping[str, str], name: str) -> str | None:
    """Return a secret. The text of an unresolved Key Vault reference is rejected, because anyone can guess it."""
    text = environment.get(name) or None
    if text and text.strip().startswith(_UNRESOLVED):
        raise SettingsError(f"{name} is a Key Vault reference that was not resolved")
    return text


def _key(environment: Mapping[str, str], name: str) -> str | None:
    """Return a key that a header can carry, without the white space around it that copying may leave."""
    key = (_secret(environment, name) or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise SettingsError(f"{name} must be printable ASCII")
    return key or None


def _url(environment: Mapping[str, str], name: str) -> str:
    text = environment.get(name, "").strip()
    if not is_base_url(text):
        raise SettingsError(f"{name} must be set to a URL such as https://api.openai.com/v1")
    return text


def _flag(environment: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    text = environment.get(name, "").strip().lower() or str(default).lower()
    if text not in ("true", "false", "1", "0"):
        raise SettingsError(f"{name} must be true or false")
    return text in ("true", "1")


def _module(environment: Mapping[str, str]) -> str:
    name = environment.get("AGENTS_MODULE", "").strip() or "agents"
    if not all(part.isidentifier() for part in name.split(".")):
        raise SettingsError("AGENTS_MODULE must be the name of a module, such as agents")
    return name


def _mode(environment: Mapping[str, str]) -> str:
    mode = environment.get("UPSTREAM_MODE", "").strip().lower() or "background"
    if mode not in ("background", "foreground"):
        raise SettingsError("UPSTREAM_MODE must be background or foreground")
    return mode


def _longest_s(upstreams: Sequence[UpstreamSpec]) -> int:
    """Return the longest deadline in seconds. In foreground mode, a run must end before `functionTimeout`, 6 h."""
    return 7 * _DAY_S if all(spec.is_background for spec in upstreams) else 21_000


def _decimal(environment: Mapping[str, str], name: str, default: float, *, most: float) -> float:
    text = environment.get(name, "").strip() or str(default)
    if not (_DECIMAL.fullmatch(text) and 0.05 <= float(text) <= most):
        raise SettingsError(f"{name} must be seconds from 0.05 to {most:g}")
    return float(text)


def _seconds(environment: Mapping[str, str], name: str, default: int, *, most: int) -> int:
    text = environment.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and 1 <= int(text) <= most):
        raise SettingsError(f"{name} must be whole seconds from 1 to {most}")
    return int(text)
