"""Checks what a platform team sees and keeps: diagnostic settings, locks, and the key that encrypts storage."""

from collections.abc import Iterator
from typing import Any

from tests.infra.deployment import Deployment, Resource, referred
from tests.infra.hardening import PLAN, SITE, WORKSPACE, chosen, logs_of
from tests.infra.naming import WITHOUT_TAGS
from tests.infra.network import NETWORK
from tests.infra.project import Project
from tests.infra.roles import MODEL, STORAGE, VAULT, key_identities

SETTING = "Microsoft.Insights/diagnosticSettings"
LOCK = "Microsoft.Authorization/locks"
# The parts of storage that have logs of their own.
SERVICES = [f"{STORAGE}/{service}" for service in ("blobServices", "queueServices", "tableServices")]
# Types that have no logs, or that are logs themselves. Application Insights would write all it has a second time.
WITHOUT = {
    "Microsoft.Resources/resourceGroups",
    "Microsoft.ManagedIdentity/userAssignedIdentities",
    "Microsoft.Insights/components",
    "Microsoft.Insights/actionGroups",
    "Microsoft.Insights/metricAlerts",
    "Microsoft.Insights/scheduledQueryRules",
    "Microsoft.Insights/workbooks",
    "Microsoft.CognitiveServices/accounts/deployments",
    "Microsoft.Network/privateDnsZones",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
    "Microsoft.Network/privateEndpoints",
    *WITHOUT_TAGS,
} - {*SERVICES}
METRICS = [{"category": "AllMetrics", "enabled": True}]
EVERYTHING = [{"categoryGroup": "allLogs", "enabled": True}]
AUDIT = [{"categoryGroup": "audit", "enabled": True}]
SECRETS = [{"category": "AuditEvent", "enabled": True}]
# The logs of each type with `audit`, and with `all`. The account of storage and the plan have metrics only.
LOGS: dict[str, tuple[list[Any], list[Any]]] = {
    STORAGE: ([], []),
    PLAN: ([], []),
    **dict.fromkeys(SERVICES, ([], EVERYTHING)),
    SITE: ([], EVERYTHING),
    NETWORK: ([], EVERYTHING),
    MODEL: (AUDIT, EVERYTHING),
    WORKSPACE: (AUDIT, EVERYTHING),
    VAULT: (SECRETS, EVERYTHING),
}


def diagnostics(project: Project) -> Iterator[str]:
    """Every resource that has logs or metrics sends them to the workspace, if that was chosen. A vault always does."""
    for deployment in project.deployments():
        level = chosen(deployment, "diagnostics")
        known = WITHOUT | LOGS.keys()
        yield from (
            f"nobody knows whether {one.kind} has logs" for one in deployment.resources if one.kind not in known
        )
        wanted = {
            one.id: (LOGS[one.kind][level == "all"], [] if level == "vault" else METRICS)
            for one in deployment.resources
            if one.kind in LOGS and (level != "vault" or one.kind == VAULT)
        }
        found = {one.id.partition(f"/providers/{SETTING}")[0]: one for one in deployment.of(SETTING)}
        yield from (f"{deployment.name}: {id_} is not on both sides" for id_ in sorted(wanted.keys() ^ found.keys()))
        for id_ in wanted.keys() & found.keys():
            sent = (_sent(found[id_], "logs"), _sent(found[id_], "metrics"))
            if sent != wanted[id_]:
                yield f"{deployment.name}: {id_} sends {sent}"
            if found[id_].at("properties.workspaceId") != logs_of(deployment):
                yield f"{deployment.name}: {id_} sends elsewhere"


def _sent(setting: Resource, part: str) -> list[dict[str, Any]]:
    listed = setting.at(f"properties.{part}") or []
    return [{name: value for name, value in one.items() if value is not None} for one in listed]


def locks(project: Project) -> Iterator[str]:
    """If that was chosen, data, secrets and logs that are made here cannot be deleted. Nothing else is locked."""
    for deployment in project.deployments():
        kept = [one.id for kind in (STORAGE, VAULT, WORKSPACE) for one in deployment.of(kind)]
        found = [one.id.partition(f"/providers/{LOCK}")[0] for one in deployment.of(LOCK)]
        if sorted(found) != (sorted(kept) if chosen(deployment, "locksEnabled") else []):
            yield f"{deployment.name}: locked are {found}"
        yield from (
            f"{deployment.name}: {one.id} is {one.at('properties.level')}"
            for one in deployment.of(LOCK)
            if one.at("properties.level") != "CanNotDelete"
        )


def encryption(project: Project) -> Iterator[str]:
    """With a customer's key all of storage is encrypted by it, queues and tables too, in its newest version."""
    for deployment in project.deployments():
        for fault in _encryption_faults(deployment):
            yield f"{deployment.name}: {fault}"


def _encryption_faults(deployment: Deployment) -> Iterator[str]:
    storage, key = deployment.one(STORAGE), chosen(deployment, "customerKeyId")
    if not key:
        if storage.at("properties.encryption") or storage.at("identity"):
            yield "storage has a key that was not chosen"
        return
    given = storage.at("properties.encryption") or {}
    of_key = given.get("keyvaultproperties", {})
    vault = (referred(of_key.get("keyvaulturi")) or ("", ""))[0]
    if (vault, of_key.get("keyname")) != tuple(key.rsplit("/keys/", 1)) or "keyversion" in of_key:
        yield f"the key is {of_key}"
    (identity,) = key_identities(deployment)
    if given.get("keySource") != "Microsoft.Keyvault" or given["identity"] != {"userAssignedIdentity": identity}:
        yield f"the key is used by {given.get('identity')}"
    parts = {part: {"enabled": True, "keyType": "Account"} for part in ("blob", "file", "queue", "table")}
    if given.get("services") != parts:
        yield f"only a part is encrypted by the key: {given.get('services')}"
