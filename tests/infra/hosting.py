"""Checks hosting: host.json and outputs."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from infra.hooks.regions import regions_of
from local.stack.process import ROOT
from tests.infra.deployment import formatted, referred
from tests.infra.hardening import chosen
from tests.infra.project import Project
from tests.infra.roles import ASSIGNMENT, STORAGE, VAULT

# What hooks and operators read, by output.
NEEDED = {
    "AZURE_KEY_VAULT_ENDPOINT": "{vaults.vaultUri}",
    "APP_URL": "https://{sites.defaultHostName}",
    "APP_IDENTITY_PRINCIPAL_ID": "{userAssignedIdentities.principalId}",
}


def host(project: Project) -> Iterator[str]:
    """host.json holds the limits that the design assumes. docs/deploy.md gives the reasons."""
    found = project.json("host.json")
    queues = {
        "batchSize": 16,
        "newBatchThreshold": 16,
        "maxDequeueCount": 5,
        "visibilityTimeout": "00:00:05",
        "maxPollingInterval": "00:00:01",
        "messageEncoding": "base64",
    }
    for name, value in queues.items():
        if (held := found["extensions"]["queues"].get(name)) != value:
            yield f"queues.{name} is {held}, not {value}"
    if found["extensionBundle"]["version"] != "[4.*, 5.0.0)":
        yield "the bundle is not of version 4"
    hours, minutes, seconds = map(int, found["functionTimeout"].split(":"))
    if hours * 3600 + minutes * 60 + seconds <= 21_000:
        yield "functionTimeout does not exceed the longest run"
    yield from _lost_lines(found["logging"])
    if found["extensions"]["http"] != {"routePrefix": ""}:
        yield "the base paths of official clients have no prefix"
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    if requires != ">=3.11,<3.14":
        yield f"Python 3.12 is not what is required: {requires}"


def _lost_lines(logging: dict[str, Any]) -> Iterator[str]:
    """All lines of standard output have level Information. A sample of requests or lines would mislead the alerts."""
    if logging["logLevel"].get("Host.Function.Console") != "Information":
        yield "a stricter default would take all lines"
    sampling = logging.get("applicationInsights", {}).get("samplingSettings", {})
    if set(sampling.get("excludedTypes", "").split(";")) != {"Request", "Trace", "Exception"}:
        yield "requests, lines or exceptions are sampled"


def outputs(project: Project) -> Iterator[str]:
    """No output or parameter holds a secret, and the outputs that hooks and operators need exist."""
    for deployment in project.deployments():
        found: dict[str, Any] = {name: formatted(value) for name, value in deployment.outputs.items()}
        found["ROLES_ELSEWHERE"] = sorted(str(found.get("ROLES_ELSEWHERE")).split())
        group = deployment.one("Microsoft.Resources/resourceGroups")
        site = deployment.one("Microsoft.Web/sites")
        model = [one.name for one in deployment.of("Microsoft.CognitiveServices/accounts/deployments")]
        vault = deployment.given.get("keyVaultId") or deployment.one(VAULT).id
        wanted = {
            **NEEDED,
            "AZURE_RESOURCE_GROUP": group.name,
            "AZURE_KEY_VAULT_NAME": vault.rpartition("/")[2],
            "AZURE_KEY_VAULT_RESOURCE_ID": vault,
            "AZURE_STORAGE_ACCOUNT": deployment.one(STORAGE).name,
            "APP_NAME": site.name,
            "APP_RESOURCE_ID": site.id,
            "REQUESTS_CALLER_NAME": deployment.given.get("requestsCaller", ""),
            "MODEL_DEPLOYMENT": model[0] if model else "",
            "NETWORK_IS_PRIVATE": str(chosen(deployment, "vnetEnabled")),
            "ROLES_ELSEWHERE": sorted(one.id for one in deployment.of(ASSIGNMENT) if group.id not in one.id),
        }
        if (referred(deployment.outputs.get("AZURE_KEY_VAULT_ENDPOINT")) or ("", ""))[0] != vault:
            yield f"{deployment.name}: the address of the vault is that of another one"
        for name in sorted(wanted.keys() | found.keys()):
            if found.get(name) != wanted.get(name):
                yield f"{deployment.name}: {name} is {found.get(name)}, not {wanted.get(name)}"
    kept = {variable for variable, _ in project.passed().values()}
    for name in sorted(kept & project.compiled.template["outputs"].keys()):
        yield f"{name} is set by azd env, and `azd down` would forget it, as it does with every output"
    for name in project.compiled.template["parameters"]:
        declared = project.compiled.template["parameters"][name]
        if re.search(r"(?i)(key|secret|password)(?!.*Id$)", name) and declared["type"] != "bool":
            yield f"{name} could take a secret"


def regions(project: Project) -> Iterator[str]:
    """Regions are a list, which the hook before a deployment finds in the file."""
    declared = project.compiled.template["parameters"]
    listed = declared["location"].get("allowedValues", [])
    if len(listed) < 30 or listed != sorted(set(listed)):
        yield f"the regions are {listed}"
    yield from (f"{name} is no region" for name in listed if not re.fullmatch(r"[a-z]+[23]?", name))
    if any("euap" in name or "stage" in name for name in listed):
        yield "a region for Microsoft's own tests is listed"
    if regions_of(project.text("infra/main.bicep")) != listed:
        yield "the hook does not find the regions"
