"""Checks every resource: unique ids, names by Azure's rules, open enumerations, tags, and the waiting order."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.infra.deployment import Resource, listed, nested, templates
from tests.infra.naming import WITHOUT_TAGS
from tests.infra.project import Project

# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
_ALERT = r"[^<>*%&:\\?+/#|{}]{0,259}[^<>*%&:\\?+/#|{}. ]"
NAMES = {
    "Microsoft.Resources/resourceGroups": r"[-\w.()]{0,89}[-\w()]",
    "Microsoft.ManagedIdentity/userAssignedIdentities": r"[A-Za-z0-9][\w-]{2,127}",
    "Microsoft.OperationalInsights/workspaces": r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
    "Microsoft.Insights/components": r"[^%&\\?/]{0,254}[^%&\\?/. ]",
    "Microsoft.Insights/diagnosticSettings": r"[^<>*%&:\\?+/]{1,260}",
    "Microsoft.Insights/actionGroups": _ALERT,
    "Microsoft.Insights/scheduledQueryRules": _ALERT,
    "Microsoft.Insights/metricAlerts": _ALERT,
    "Microsoft.Insights/workbooks": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
    "Microsoft.Storage/storageAccounts/blobServices": "default",
    "Microsoft.Storage/storageAccounts/blobServices/containers": r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
    "Microsoft.Storage/storageAccounts/queueServices": "default",
    "Microsoft.Storage/storageAccounts/queueServices/queues": r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
    "Microsoft.Storage/storageAccounts/tableServices": "default",
    "Microsoft.Storage/storageAccounts/tableServices/tables": r"[A-Za-z][A-Za-z0-9]{2,62}",
    "Microsoft.KeyVault/vaults": r"(?!.*--)[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]",
    "Microsoft.CognitiveServices/accounts": r"[A-Za-z0-9][A-Za-z0-9-]{0,62}[A-Za-z0-9]",
    "Microsoft.CognitiveServices/accounts/deployments": r"[A-Za-z0-9][\w.-]{1,63}",
    "Microsoft.Authorization/roleAssignments": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "Microsoft.Authorization/locks": r"[^<>%&\\?/]{1,90}",
    "Microsoft.Web/serverfarms": r"[A-Za-z0-9-]{1,60}",
    # Longer names are cut off after 32 characters, and apps with equal beginnings share locks in one account.
    "Microsoft.Web/sites": r"[A-Za-z0-9][A-Za-z0-9-]{0,30}[A-Za-z0-9]",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": "ftp|scm",
    "Microsoft.Web/sites/config": "authsettingsV2",
    "Microsoft.Network/virtualNetworks": r"[A-Za-z0-9][\w.-]{0,62}\w",
    "Microsoft.Network/privateDnsZones": r"([a-z0-9-]{1,63}\.){1,33}[a-z0-9-]{1,63}",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": r"[A-Za-z0-9][\w.-]{0,78}\w",
    "Microsoft.Network/privateEndpoints": r"[A-Za-z0-9][\w.-]{0,62}\w",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": "default",
}
# The compiler takes any text for these, because Azure may know more values than its data.
ENUMS: list[tuple[str, str, set[Any]]] = [
    ("Microsoft.Storage/storageAccounts", "sku.name", {"Standard_LRS", "Standard_ZRS"}),
    ("Microsoft.Storage/storageAccounts", "kind", {"StorageV2"}),
    ("Microsoft.Storage/storageAccounts", "properties.publicNetworkAccess", {"Enabled", "Disabled"}),
    ("Microsoft.Storage/storageAccounts", "properties.networkAcls.defaultAction", {"Allow", "Deny"}),
    ("Microsoft.KeyVault/vaults", "properties.publicNetworkAccess", {"Enabled", "Disabled"}),
    ("Microsoft.KeyVault/vaults", "properties.networkAcls.defaultAction", {"Allow", "Deny"}),
    ("Microsoft.KeyVault/vaults", "properties.createMode", {"default", "recover"}),
    ("Microsoft.KeyVault/vaults", "properties.sku.name", {"standard", "premium"}),
    ("Microsoft.CognitiveServices/accounts", "kind", {"AIServices"}),
    ("Microsoft.CognitiveServices/accounts", "properties.publicNetworkAccess", {"Enabled", "Disabled"}),
    ("Microsoft.CognitiveServices/accounts", "properties.networkAcls.defaultAction", {"Allow", "Deny"}),
    ("Microsoft.OperationalInsights/workspaces", "properties.sku.name", {"PerGB2018"}),
    ("Microsoft.Insights/components", "properties.Application_Type", {"web", "other"}),
    ("Microsoft.Insights/scheduledQueryRules", "properties.criteria.allOf.0.operator", {"GreaterThan", "LessThan"}),
    ("Microsoft.Insights/scheduledQueryRules", "properties.criteria.allOf.0.timeAggregation", {"Total"}),
    ("Microsoft.Insights/scheduledQueryRules", "properties.windowSize", {"PT5M", "PT15M"}),
    ("Microsoft.Insights/metricAlerts", "properties.criteria.allOf.0.timeAggregation", {"Total"}),
    ("Microsoft.Insights/workbooks", "kind", {"shared"}),
    ("Microsoft.Insights/workbooks", "properties.category", {"workbook"}),
    ("Microsoft.Insights/workbooks", "properties.version", {"Notebook/1.0"}),
    ("Microsoft.Web/sites", "identity.type", {"UserAssigned"}),
    ("Microsoft.Web/sites", "properties.functionAppConfig.deployment.storage.type", {"blobContainer"}),
    (
        "Microsoft.Web/sites",
        "properties.functionAppConfig.deployment.storage.authentication.type",
        {"UserAssignedIdentity"},
    ),
    ("Microsoft.Web/sites", "properties.functionAppConfig.runtime.name", {"python"}),
]
# Types without a place, as far as they are in a deployment. The model is where its account is.
NOWHERE = WITHOUT_TAGS | {"Microsoft.CognitiveServices/accounts/deployments"}
# What waits for what, by module: a module that gets names and no outputs does not wait by itself.
WAITING = {
    "access": {"identity", "storage", "vault", "monitoring", "model"},
    "network": {"storage", "vault", "model"},
    "app": {"access", "identity", "storage", "monitoring", "model", "network"},
    "inbound": {"app", "network"},
    "diagnostics": {"app", "model", "network", "storage", "monitoring"},
    "locks": {"app", "vault", "monitoring"},
    "alerts": {"monitoring", "model"},
    "vault": {"monitoring"},
    "workbook": {"monitoring"},
}
BEFORE_NAMES = {"zones", "links", "[format('privateEndpoints[{0}]', copyIndex())]"}


def ids(project: Project) -> Iterator[str]:
    """No two resources or modules have one id, and every resource that belongs to another stands beside it."""
    modules = Counter(str(one["name"]) for one in nested(project.compiled.template).values())
    yield from (f"{count} modules are named {name}" for name, count in modules.items() if count > 1)
    for deployment in project.deployments():
        counts = Counter(_path(one) for one in deployment.resources)
        yield from (f"{deployment.name}: {id_} is declared {count} times" for id_, count in counts.items() if count > 1)
        for one in deployment.resources:
            parent = _parent(one)
            if parent and not any(other.endswith(parent) for other in counts):
                yield f"{deployment.name}: {_path(one)} belongs to nothing"


def _path(one: Resource) -> str:
    """Return the id of a resource. That of some stays an expression, so it is made of its type and names."""
    if not one.id.startswith("["):
        return one.id.lower()
    names = str(one.body["name"]).strip("[]'")
    called = re.fullmatch(r"format\('\{0\}/\{1\}', '([^']*)', '([^']*)'\)", names)
    return f"{one.kind}/{'/'.join(called.groups()) if called else names}".lower()


def _parent(one: Resource) -> str | None:
    """Return the end of the id of the resource that another belongs to, or None for one that stands alone."""
    if one.kind.count("/") < 2:
        return None
    if one.id.startswith("["):
        return "/" + _path(one).removeprefix(one.kind.lower()).strip("/").split("/")[0]
    return "/".join(one.id.lower().split("/")[:-2])


def names(project: Project) -> Iterator[str]:
    """Every name is one that Azure takes, also where an environment has the longest."""
    for deployment in project.deployments():
        for one in deployment.resources:
            rule = NAMES.get(one.kind)
            name = _path(one).rpartition("/")[2] if one.id.startswith("[") else one.name
            if rule is None:
                yield f"{deployment.name}: {one.kind} is a type without a rule for its names"
            elif not re.fullmatch(rule, name):
                yield f"{deployment.name}: {name} is no name of {one.kind}"
        for one in deployment.of("Microsoft.Insights/actionGroups"):
            if not 1 <= len(one.at("properties.groupShortName")) <= 12:
                yield f"{deployment.name}: the short name of {one.name} has more than 12 characters"


def enums(project: Project) -> Iterator[str]:
    """Every value of an open enumeration is one that Azure knows."""
    for deployment in project.deployments():
        for kind, path, known in ENUMS:
            for one in deployment.of(kind):
                if (found := one.at(path)) not in known:
                    yield f"{deployment.name}: {path} of {kind} is {found}, not one of {sorted(known)}"


def locations(project: Project) -> Iterator[str]:
    """Every resource is in the region of the deployment, or global where there is nothing else."""
    everywhere = ("actionGroups", "metricAlerts", "privateDnsZones", "virtualNetworkLinks")
    for deployment in project.deployments():
        for one in deployment.resources:
            wanted = "global" if one.kind.endswith(everywhere) else deployment.given["location"]
            if one.at("location") not in (None, wanted):
                yield f"{deployment.name}: {one.id} is in {one.at('location')}"
            if one.at("location") is None and one.kind not in NOWHERE:
                yield f"{deployment.name}: {one.id} is nowhere"


def order(project: Project) -> Iterator[str]:
    """Modules and resources wait for what they need: the app for its roles, names for addresses."""
    modules = {one["name"]: one for one in nested(project.compiled.template).values()}
    for name, wanted in WAITING.items():
        missing = wanted - _waits(modules.get(name, {}))
        yield from (f"{name} does not wait for {one}" for one in sorted(missing))
    everything = [one for _, template in templates(project.compiled.template) for one in listed(template)]
    groups = [one for name, one in everything if name == "zoneGroups"]
    if not groups or not set(groups[0].get("dependsOn", [])) >= BEFORE_NAMES:
        yield "names of private endpoints lead to addresses before their zones are there"


def _waits(module: dict[str, Any]) -> set[str]:
    return {text.rpartition(", '")[2].rstrip("')]") for text in module.get("dependsOn", [])}
