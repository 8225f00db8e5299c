"""Checks that the settings, queues and tables of the deployment are exactly those that the code uses."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from shared.bootstrap import TABLE
from shared.storage.messages import INTERNAL, POISON
from tests.infra.bicep import at, fields
from tests.infra.project import Project
from tests.infra.trees import ROOT, Node

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
    "AzureWebJobsStorage__credential": "'managedidentity'",
    "AzureWebJobsStorage__clientId": "identityClientId",
    "AzureWebJobsStorage__accountName": "storageName",
    "AZURE_CLIENT_ID": "identityClientId",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "insightsConnectionString",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "'ClientId=${identityClientId};Authorization=AAD'",
    "TELEMETRY": "'azure'",
    "OTEL_TRACES_SAMPLER": "'always_on'",
    "OTEL_METRIC_EXPORT_INTERVAL": "'15000'",
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "'true'",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "'true'",
    "PYTHON_ENABLE_INIT_INDEXING": "'1'",
    "AzureWebJobsDisableHomepage": "'true'",
}
LOCAL_PLATFORM = {"FUNCTIONS_WORKER_RUNTIME", "PYTHON_ENABLE_INIT_INDEXING"}
SECRETS = {
    "CALLERS": "callers",
    "UPSTREAM_API_KEY": "upstream-api-key",
    "UPSTREAM_KEYS": "upstream-keys",
    "UPSTREAM_WEBHOOK_SECRET": "upstream-webhook-secret",
}
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


def in_bicep(project: Project) -> dict[str, Node]:
    """Return the values of the app settings that a deployment sets, by name."""
    file = project.file("app")
    listed = at(file.resources["site"].body, "properties", "siteConfig", "appSettings")
    found: dict[str, Node] = {}
    for name in (one.text for one in listed.all("identifier")):
        for source in _sources(project, name):
            for one in source.all("object"):
                if {"name", "value"} == fields(one).keys():
                    found[at(one, "name").literal() or ""] = at(one, "value")
    return found


def _sources(project: Project, name: str) -> Iterator[Node]:
    node = project.file("app").variables.get(name)
    if node is None:
        return
    yield node
    for inner in node.all("identifier"):
        if inner.text != name:
            yield from _sources(project, inner.text)


def in_docs() -> set[str]:
    """Return the names in the table of docs/settings.md."""
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[A-Za-z_`or ]+`) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def settings(project: Project) -> Iterator[str]:
    """No setting that the code or the platform needs is missing, and no setting is superfluous.

    Flex Consumption refuses none of them, and each secret is a reference to the vault.
    """
    found = in_bicep(project)
    code = read_by_code()
    wanted = (code | FOR_THE_PLATFORM.keys()) - PLATFORMS - NEVER_DEPLOYED
    yield from (f"{name} is read and not set" for name in sorted(wanted - found.keys()))
    yield from (f"{name} is set and not read" for name in sorted(found.keys() - wanted))
    yield from (f"{name}: Flex Consumption refuses it" for name in sorted(found) if REFUSED.fullmatch(name))
    for name, text in FOR_THE_PLATFORM.items():
        if name in found and found[name].text != text:
            yield f"{name} is {found[name].text}, not {text}"
    yield from _secret_faults(project, found)


def _secret_faults(project: Project, found: dict[str, Node]) -> Iterator[str]:
    variables = project.file("app").variables
    for name, secret in SECRETS.items():
        value = variables.get(found[name].text) if name in found else None
        if value is None or value.text != f"'@Microsoft.KeyVault(SecretUri=${{vaultUri}}secrets/{secret})'":
            yield f"{name} is not a reference to the vault's {secret}"
    for name, value in found.items():
        if name not in SECRETS and "KeyVault" in value.text:
            yield f"{name} is not a secret"


def passed_on(project: Project) -> Iterator[str]:
    """Each plain setting takes its value from the parameter of the same name, which `azd env set` sets."""
    main = at(project.file("main").modules["app"].body, "params", "service")
    given = project.passed()
    for name, value in in_bicep(project).items():
        member = re.search(r"^(?:string\()?service\.(\w+)\)?$", value.text)
        if member is None:
            continue
        expected = name.lower().split("_")
        camel = expected[0] + "".join(part.capitalize() for part in expected[1:])
        if member.group(1) != camel or at(main, camel).text != camel:
            yield f"{name} does not hold {camel}"
        if given.get(camel, ("", ""))[0] != name:
            yield f"{camel} is not what `azd env set {name}` sets"


def local_example(project: Project) -> Iterator[str]:
    """Each setting that the code or Core Tools reads on a laptop is in the local example, and no others."""
    named = set(project.json("local.settings.json.example")["Values"])
    code = read_by_code() - PLATFORMS - NEVER_LOCAL
    yield from (f"{name} is missing in the example" for name in sorted((code | LOCAL_PLATFORM) - named))
    yield from (f"{name} is not read" for name in sorted(named - code - LOCAL_PLATFORM))


def storage(project: Project) -> Iterator[str]:
    """Each queue that the code uses is created with its poison queue, and so is the table. No others are created."""
    variables = project.file("storage").variables
    queues = {one.literal() for one in variables["queueNames"].children}
    wanted = {*INTERNAL, *(name + POISON for name in INTERNAL)}
    yield from (f"queue {name}: not on both sides" for name in sorted(map(str, queues ^ wanted)))
    tables = {one.literal() for one in variables["tableNames"].children}
    yield from (f"table {name}: not on both sides" for name in sorted(map(str, tables ^ {TABLE})))


def parameters(project: Project) -> Iterator[str]:
    """Azd passes every parameter of the deployment, with the same defaults as in Bicep."""
    given = project.passed()
    declared = project.file("main").parameters
    yield from (f"{name}: not on both sides" for name in sorted(given.keys() ^ declared.keys()))
    for name in given.keys() & declared.keys():
        variable, written = given[name]
        default = declared[name].default
        text = (default.literal() if default.literal() is not None else default.text) if default else None
        if written != (text or "") and not variable.startswith("AZURE_"):
            yield f"{name} is {written} by azd, {text} by Bicep"
