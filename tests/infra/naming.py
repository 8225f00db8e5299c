"""Checks the names and tags that a deployment is told to give."""

import re
from collections.abc import Iterator

from tests.infra.deployment import Deployment
from tests.infra.project import Project
from tests.infra.roles import IDENTITY, INSIGHTS, MODEL, STORAGE, VAULT

SITE = "Microsoft.Web/sites"
# Types that take no tags. tests/infra/test_tags.py asks the compiler whether these are all.
WITHOUT_TAGS = {
    "Microsoft.Authorization/locks",
    "Microsoft.Authorization/roleAssignments",
    "Microsoft.Insights/diagnosticSettings",
    "Microsoft.KeyVault/vaults/secrets",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
    "Microsoft.Storage/storageAccounts/blobServices",
    "Microsoft.Storage/storageAccounts/blobServices/containers",
    "Microsoft.Storage/storageAccounts/queueServices",
    "Microsoft.Storage/storageAccounts/queueServices/queues",
    "Microsoft.Storage/storageAccounts/tableServices",
    "Microsoft.Storage/storageAccounts/tableServices/tables",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies",
    "Microsoft.Web/sites/config",
}
# Azure leaves out other tags of these: https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources
ZONES = {"Microsoft.Network/privateDnsZones", "Microsoft.Network/privateDnsZones/virtualNetworkLinks"}
OF_ZONE = re.compile(r"[A-Za-z._-][\w.-]*", re.ASCII)
# What RESOURCE_NAMES calls each kind that is there once.
KINDS = {
    "group": "Microsoft.Resources/resourceGroups",
    "identity": IDENTITY,
    "keyIdentity": IDENTITY,
    "workspace": "Microsoft.OperationalInsights/workspaces",
    "insights": INSIGHTS,
    "storage": STORAGE,
    "vault": VAULT,
    "model": MODEL,
    "network": "Microsoft.Network/virtualNetworks",
    "plan": "Microsoft.Web/serverfarms",
    "app": SITE,
}
# What it calls the first part of many names.
PREFIXES = {
    "endpoints": "Microsoft.Network/privateEndpoints",
    "alerts": "Microsoft.Insights/scheduledQueryRules",
}


def pairs(deployment: Deployment, parameter: str) -> dict[str, str]:
    """Return the values of a list such as A=1,B=2, by name."""
    parts = [one.strip() for one in deployment.given.get(parameter, "").split(",")]
    found = [part.partition("=") for part in parts if part]
    return {name.strip(): value.strip() for name, _, value in found}


def tags(project: Project) -> Iterator[str]:
    """Every resource has the tags that were chosen, and the environment's, by which `azd down` and invoices find it.

    The app also has the tag with azd's name for the service.
    """
    (service,) = project.azure["services"]
    for deployment in project.deployments():
        chosen = pairs(deployment, "resourceTags")
        own = {"azd-env-name": deployment.given["environmentName"], "application": "background-responses"}
        for one in deployment.resources:
            wanted = {**chosen, **own, **({"azd-service-name": service} if one.kind == SITE else {})}
            if one.kind in ZONES:
                wanted = {name: value for name, value in wanted.items() if OF_ZONE.fullmatch(name)}
            if one.at("tags") != (None if one.kind in WITHOUT_TAGS else wanted):
                yield f"{deployment.name}: the tags of {one.id} are {one.at('tags')}"


def overridden(project: Project) -> Iterator[str]:
    """Each resource that was given a name has it."""
    for deployment in project.deployments():
        for kind, name in pairs(deployment, "resourceNames").items():
            found = [one.name for one in deployment.of(KINDS.get(kind) or PREFIXES[kind])]
            if KINDS.get(kind) == IDENTITY:
                found = [one for one in found if one == name]
            if not found or not all(one == name if kind in KINDS else one.startswith(f"{name}-") for one in found):
                yield f"{deployment.name}: {kind} is {found}, not {name}"
