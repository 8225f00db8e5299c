"""Checks that the settings, queues and tables of the deployment are exactly those that the code uses."""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.hooks.first_caller import elements
from local.stack.process import ROOT
from shared.bootstrap import TABLE
from shared.core.errors import SettingsError
from shared.settings import load_settings
from shared.storage.messages import INTERNAL, POISON
from tests.infra.deployment import Deployment, formatted
from tests.infra.parameters import variable
from tests.infra.project import Project
from tests.infra.roles import STORAGE

# Set by the platform itself.
PLATFORMS = {"IDENTITY_ENDPOINT", "MSI_ENDPOINT", "WEBSITE_HOSTNAME"}
# Addresses of storage in place of the account's name, which the template knows.
ADDRESSES = {
    "AzureWebJobsStorage__endpointSuffix",
    "AzureWebJobsStorage__tableServiceUri",
    "AzureWebJobsStorage__queueServiceUri",
}
# A connection string contains a key, and loopback callbacks are for a laptop.
NEVER_DEPLOYED = {"AzureWebJobsStorage", "CALLBACK_ALLOW_LOOPBACK", *ADDRESSES}
# A laptop has no managed identity, so settings that need one are not used there.
NEVER_LOCAL = {
    "AzureWebJobsStorage__accountName",
    "AZURE_CLIENT_ID",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    *ADDRESSES,
}
# Settings that the platform or a library reads, and settings with the same value in every deployment.
FOR_THE_PLATFORM = {
    "AzureWebJobsStorage__credential": "managedidentity",
    "AzureWebJobsStorage__clientId": "{userAssignedIdentities.clientId}",
    "AZURE_CLIENT_ID": "{userAssignedIdentities.clientId}",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "{components.ConnectionString}",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "ClientId={userAssignedIdentities.clientId};Authorization=AAD",
    "TELEMETRY": "azure",
    "OTEL_METRIC_EXPORT_INTERVAL": "15000",
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    "PYTHON_ENABLE_INIT_INDEXING": "1",
    "AzureWebJobsDisableHomepage": "true",
}
# Settings of libraries that a parameter sets.
OF_LIBRARIES = {"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}
LOCAL_PLATFORM = {"FUNCTIONS_WORKER_RUNTIME", "PYTHON_ENABLE_INIT_INDEXING"}
# The vault's secret of each setting, the switch that it follows, and a value that the code takes.
SECRETS = {
    "CALLERS": ("callers", "", '[{"name": "first"}]'),
    "UPSTREAM_API_KEY": ("upstream-api-key", "upstreamApiKeyInVault", "key"),
    "UPSTREAM_KEYS": ("upstream-keys", "upstreamKeysInVault", "{}"),
    "UPSTREAM_WEBHOOK_SECRET": ("upstream-webhook-secret", "upstreamWebhooks", f"whsec_{'A' * 44}"),
}
MODELS_URL = "{accounts.endpoints['OpenAI Language Model Instance API']}openai/v1"
# Flex Consumption refuses a deployment that sets one of these.
REFUSED = re.compile(
    r"FUNCTIONS_(EXTENSION_VERSION|WORKER_RUNTIME(_VERSION)?|MAX_HTTP_CONCURRENCY|WORKER_PROCESS_COUNT"
    r"|WORKER_DYNAMIC_CONCURRENCY_ENABLED)|ENABLE_ORYX_BUILD|SCM_DO_BUILD_DURING_DEPLOYMENT|.*:.*"
    r"|WEBSITE_(CONTENT.*|RUN_FROM_PACKAGE|VNET_ROUTE_ALL|DNS_SERVER|MAX_DYNAMIC_APPLICATION_SCALE_OUT"
    r"|SKIP_CONTENTSHARE_VALIDATION)"
)


def read_by_code(source: Path = ROOT / "shared" / "settings.py") -> set[str]:
    """Return every name that the settings module reads from the environment, from its syntax tree.

    A name is an argument after `environment` in a call, an argument of `environment.get`, a subscript of `environment`,
    or an element of a tuple that a comprehension iterates over.
    """
    tree = ast.parse(source.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found |= _names(_asked(node))
        elif isinstance(node, ast.Subscript) and _is_environment(node.value):
            found |= _names([node.slice])
        elif isinstance(node, ast.comprehension) and isinstance(node.iter, ast.Tuple):
            found |= _names(node.iter.elts)
    return found


def _asked(call: ast.Call) -> list[ast.expr]:
    """Return the argument of a call that may be the name of a setting, as a list."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "get" and _is_environment(call.func.value):
        return call.args[:1]
    return call.args[1:2] if call.args and _is_environment(call.args[0]) else []


def _is_environment(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "environment"


def _names(nodes: list[ast.expr]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def in_docs() -> set[str]:
    """Return the names in the table of docs/settings.md."""
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[A-Za-z_`or ]+`) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def settings(project: Project) -> Iterator[str]:
    """No setting that the code or the platform needs is missing, and no setting is superfluous.

    Each is a text, and there once. Flex Consumption refuses none of them. Each secret is a reference to the vault.
    """
    for deployment in project.deployments():
        yield from (f"{deployment.name}: {fault}" for fault in _setting_faults(deployment))


def _setting_faults(deployment: Deployment) -> Iterator[str]:
    listed = deployment.settings()
    counts = Counter(str(name).lower() for name, _ in listed)
    yield from (f"{name} is set {count} times" for name, count in counts.items() if count > 1)
    yield from (f"{name} is {value!r} and no text" for name, value in listed if not isinstance(value, str))
    found = {str(name): formatted(value) for name, value in listed}
    off = {name for name, (_, switch, _) in SECRETS.items() if switch and not deployment.given.get(switch)}
    wanted = (read_by_code() | FOR_THE_PLATFORM.keys() | OF_LIBRARIES) - PLATFORMS - NEVER_DEPLOYED - off
    yield from (f"{name} is read and not set" for name in sorted(wanted - found.keys()))
    yield from (f"{name} is set and not read" for name in sorted(found.keys() - wanted))
    yield from (f"{name}: Flex Consumption refuses it" for name in sorted(found) if REFUSED.fullmatch(name))
    expected = {**FOR_THE_PLATFORM, "AzureWebJobsStorage__accountName": deployment.one(STORAGE).name}
    for name, text in expected.items():
        if name in found and found[name] != text:
            yield f"{name} is {found[name]}, not {text}"
    for name, (secret, _, _) in SECRETS.items():
        if name in found and found[name] != f"@Microsoft.KeyVault(SecretUri={{vaults.vaultUri}}secrets/{secret})":
            yield f"{name} is not a reference to the vault's {secret}"
    for name, text in found.items():
        if name not in SECRETS and "KeyVault" in text:
            yield f"{name} is not a secret"


def loaded(project: Project) -> Iterator[str]:
    """Every variant has settings that the app's own code takes, once references are resolved."""
    for deployment in project.deployments():
        yield from (f"{deployment.name}: {refused}" for refused in refusals(deployment))


def refusals(deployment: Deployment) -> Iterator[str]:
    """Yield what the app's own code refuses of the settings of a deployment.

    Its callers are those that a hook makes, and a file of upstreams has one.
    """
    environment = {name: _known(name, value) for name, value in deployment.settings()}
    environment["CALLERS"] = json.dumps(elements("key", "", str(deployment.outputs.get("REQUESTS_CALLER_NAME", ""))))
    if deployment.given.get("upstreams"):  # a file beside the app, which is not there
        environment["UPSTREAMS"] = '[{"name": "a", "models": ["*"], "base_url": "https://a.example/v1"}]'
    try:
        load_settings(environment)
    except SettingsError as refused:
        yield str(refused)


def _known(name: str, value: Any) -> str:
    if name in SECRETS:
        return SECRETS[name][2]
    return re.sub(r"\{[^}]*\}", "https://res.example/", formatted(value))


def passed_on(project: Project) -> Iterator[str]:
    """Each plain setting takes its value from the parameter of the same name, which `azd env set` sets."""
    declared = project.compiled.template["parameters"]
    parameters = {variable(name): name for name in declared}
    for deployment in project.deployments():
        for name, value in deployment.settings():
            if name not in parameters or name in SECRETS:
                continue
            default = declared[parameters[name]].get("defaultValue")
            expected = str(deployment.given.get(parameters[name], default))
            has_model = not (deployment.given.get("upstreamBaseUrl") or deployment.given.get("upstreams"))
            if name == "UPSTREAM_BASE_URL" and has_model:
                expected = MODELS_URL
            if formatted(value) != expected:
                yield f"{deployment.name}: {name} is {formatted(value)}, not {expected}"
    missing = read_by_code() - parameters.keys() - SECRETS.keys() - FOR_THE_PLATFORM.keys() - PLATFORMS - NEVER_DEPLOYED
    yield from (f"{name} has no parameter" for name in sorted(missing - {"AzureWebJobsStorage__accountName"}))


def local_example(project: Project) -> Iterator[str]:
    """Each setting that the code or Core Tools reads on a laptop is in the local example, and no others."""
    named = set(project.json("local.settings.json.example")["Values"])
    code = read_by_code() - PLATFORMS - NEVER_LOCAL
    yield from (f"{name} is missing in the example" for name in sorted((code | LOCAL_PLATFORM) - named))
    yield from (f"{name} is not read" for name in sorted(named - code - LOCAL_PLATFORM))


def storage(project: Project) -> Iterator[str]:
    """Each queue that the code uses is created with its poison queue, and so is the table.

    Of the queues for replies, those with whole names are created, once each.
    """
    own = {*INTERNAL, *(name + POISON for name in INTERNAL)}
    for deployment in project.deployments():
        named = {one.strip() for one in deployment.given.get("replyQueues", "").split(",")}
        wanted = own | {one for one in named if one and "*" not in one}
        queues = sorted(one.name for one in deployment.of(f"{STORAGE}/queueServices/queues"))
        if queues != sorted(wanted):
            yield f"{deployment.name}: the queues are {queues}, not {sorted(wanted)}"
        tables = [one.name for one in deployment.of(f"{STORAGE}/tableServices/tables")]
        if tables != [TABLE]:
            yield f"{deployment.name}: the tables are {tables}, not {TABLE}"
