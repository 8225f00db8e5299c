"""Checks that a deployment is closed and complete: the values that keep it so, in every variant."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.infra.compiler import TENANT
from tests.infra.deployment import Deployment, Resource, formatted
from tests.infra.project import Project
from tests.infra.roles import IDENTITY, INSIGHTS, MODEL, STORAGE, VAULT, identity_of

SITE = "Microsoft.Web/sites"
PLAN = "Microsoft.Web/serverfarms"
GATE = "Microsoft.Web/sites/config"
WORKSPACE = "Microsoft.OperationalInsights/workspaces"
DEPLOYED_MODEL = "Microsoft.CognitiveServices/accounts/deployments"
BLOBS = "Microsoft.Storage/storageAccounts/blobServices"
CONTAINER = "Microsoft.Storage/storageAccounts/blobServices/containers"
PASSWORDS = "Microsoft.Web/sites/basicPublishingCredentialsPolicies"
# Properties of siteConfig that Flex Consumption refuses (ARM error 51021).
REFUSED = {
    "alwaysOn", "ftpsState", "functionAppScaleLimit", "functionsRuntimeScaleMonitoringEnabled", "linuxFxVersion",
    "netFrameworkVersion", "preWarmedInstanceCount", "pythonVersion", "use32BitWorkerProcess",
}  # fmt: skip
SITE_CONFIG = {"minTlsVersion", "scmMinTlsVersion", "http20Enabled", "appSettings"}  # and nothing else, such as cors
FLEX = "properties.functionAppConfig"
ENTRA = "properties.identityProviders.azureActiveDirectory"
ISSUER = f"https://login.microsoftonline.com/{TENANT}/v2.0"
# type, path, value, reason
FIXED: list[tuple[str, str, Any, str]] = [
    (STORAGE, "properties.allowSharedKeyAccess", False, "no keys"),
    (STORAGE, "properties.defaultToOAuthAuthentication", True, "no keys in the portal either"),
    (STORAGE, "properties.allowBlobPublicAccess", False, "nothing is public"),
    (STORAGE, "properties.allowCrossTenantReplication", False, "data stay in the tenant"),
    (STORAGE, "properties.minimumTlsVersion", "TLS1_2", "no old TLS"),
    (STORAGE, "properties.supportsHttpsTrafficOnly", True, "no plain text"),
    (STORAGE, "properties.networkAcls.bypass", "None", "no way around the firewall"),
    (STORAGE, "properties.accessTier", "Hot", "packages are read at every start"),
    (CONTAINER, "properties.publicAccess", "None", "the code is not public"),
    (BLOBS, "properties.deleteRetentionPolicy", {"enabled": True, "days": 7}, "a package comes back for a week"),
    (BLOBS, "properties.containerDeleteRetentionPolicy", {"enabled": True, "days": 7}, "the same for containers"),
    (VAULT, "properties.enableRbacAuthorization", True, "roles and no access policies"),
    (VAULT, "properties.enableSoftDelete", True, "secrets deleted by mistake come back"),
    (VAULT, "properties.softDeleteRetentionInDays", 90, "as the handbook says"),
    (VAULT, "properties.networkAcls.bypass", "None", "no way around the firewall"),
    (WORKSPACE, "properties.features.disableLocalAuth", True, "no keys"),
    (WORKSPACE, "properties.features.enableLogAccessUsingOnlyResourcePermissions", True, "who may see"),
    (INSIGHTS, "properties.DisableLocalAuth", True, "Entra-only ingestion"),
    (INSIGHTS, "kind", "web", "the kind that functions have"),
    (MODEL, "properties.disableLocalAuth", True, "no keys"),
    (MODEL, "sku.name", "S0", "the one there is"),
    (DEPLOYED_MODEL, "properties.model.format", "OpenAI", "the models' maker"),
    (DEPLOYED_MODEL, "properties.versionUpgradeOption", "OnceCurrentVersionExpired", "no surprise"),
    (PLAN, "sku", {"name": "FC1", "tier": "FlexConsumption"}, "Flex Consumption"),
    (PLAN, "properties.reserved", True, "Linux"),
    (PLAN, "kind", "functionapp", "Flex Consumption"),
    (SITE, "kind", "functionapp,linux", "Flex Consumption is Linux"),
    (SITE, "properties.httpsOnly", True, "no plain text"),
    (SITE, "properties.siteConfig.minTlsVersion", "1.2", "no old TLS"),
    (SITE, "properties.siteConfig.scmMinTlsVersion", "1.2", "no old TLS"),
    (SITE, "properties.siteConfig.http20Enabled", True, "many streams on one connection"),
    (SITE, f"{FLEX}.runtime", {"name": "python", "version": "3.12"}, "the version that all tests run beside"),
    (PASSWORDS, "properties.allow", False, "no passwords"),
    (GATE, "properties.login.tokenStore.enabled", False, "no tokens at rest"),
]
Wanted = Callable[[Deployment], Any]
DEFAULTS = {
    "vnetEnabled": False,
    "privateInbound": False,
    "diagnostics": "vault",
    "locksEnabled": False,
    "customerKeyId": "",
    "vaultPurgeProtection": True,
    "vaultRecover": False,
    "modelRecover": False,
    "zoneRedundant": False,
    "storageSku": "Standard_LRS",
    "logRetentionDays": 30,
    "logDailyLimitGb": 5,
    "modelName": "gpt-5-mini",
    "modelVersion": "",
    "modelSku": "GlobalStandard",
    "modelCapacity": 50,
    "instanceMemoryMB": 2048,
    "maximumInstanceCount": 40,
    "httpConcurrency": 200,
    "alwaysReadyHttp": 0,
    "alwaysReadySweep": 0,
    "alwaysReadyRun": 0,
    "entraClientId": "",
    "principalType": "User",
    "upstreamApiKeyInVault": False,
}


def chosen(deployment: Deployment, name: str) -> Any:
    """Return the value of a parameter: as given, or what a deployment has where nothing is said."""
    return deployment.given.get(name, DEFAULTS[name])


def _is(name: str) -> Wanted:
    return lambda deployment: chosen(deployment, name)


def _gated(value: Any, *, otherwise: Any = None) -> Wanted:
    """Return what a value is where an app registration is given, and where none is."""
    return lambda deployment: value if chosen(deployment, "entraClientId") else otherwise


def _id(kind: str) -> Wanted:
    return lambda deployment: deployment.one(kind).id


def _closed(closed: str, other: str) -> Wanted:
    return lambda deployment: closed if chosen(deployment, "vnetEnabled") else other


def logs_of(deployment: Deployment) -> str:
    """Return the id of the workspace: the one that is there already, or the one that is made."""
    return str(deployment.given.get("workspaceId") or deployment.one(WORKSPACE).id)


def _app_identity(deployment: Deployment) -> Any:
    return identity_of(deployment).id


def _name(kind: str) -> Wanted:
    return lambda deployment: deployment.one(kind).name


def _ready(deployment: Deployment) -> Any:
    """Return the groups that are always ready, by name: their order means nothing."""
    counts = {"http": "alwaysReadyHttp", "function:sweep": "alwaysReadySweep", "function:run": "alwaysReadyRun"}
    chosen_counts = {group: chosen(deployment, name) for group, name in counts.items()}
    return [{"name": group, "instanceCount": chosen_counts[group]} for group in sorted(counts) if chosen_counts[group]]


# type, path, what follows from the parameters, reason
FOLLOWING: list[tuple[str, str, Wanted, str]] = [
    (STORAGE, "sku.name", _is("storageSku"), "as chosen"),
    (STORAGE, "properties.publicNetworkAccess", _closed("Disabled", "Enabled"), "closed with a network"),
    (STORAGE, "properties.networkAcls.defaultAction", _closed("Deny", "Allow"), "closed with a network"),
    (MODEL, "properties.publicNetworkAccess", _closed("Disabled", "Enabled"), "closed with a network"),
    (MODEL, "properties.networkAcls.defaultAction", _closed("Deny", "Allow"), "closed with a network"),
    (MODEL, "properties.customSubDomainName", _name(MODEL), "Entra tokens need one"),
    (MODEL, "properties.restore", lambda one: chosen(one, "modelRecover") or None, "a deleted account comes back"),
    (DEPLOYED_MODEL, "properties.model.name", _is("modelName"), "the model that was chosen"),
    (DEPLOYED_MODEL, "properties.model.version", lambda one: chosen(one, "modelVersion") or None, "as chosen"),
    (DEPLOYED_MODEL, "sku.name", _is("modelSku"), "as chosen"),
    (DEPLOYED_MODEL, "sku.capacity", _is("modelCapacity"), "the quota that was chosen"),
    (VAULT, "properties.networkAcls.defaultAction", _closed("Deny", "Allow"), "closed with a network"),
    (
        VAULT,
        "properties.enablePurgeProtection",
        lambda one: chosen(one, "vaultPurgeProtection") or None,
        "false is refused",
    ),
    (
        VAULT,
        "properties.createMode",
        lambda one: "recover" if chosen(one, "vaultRecover") else "default",
        "a deleted vault comes back",
    ),
    (WORKSPACE, "properties.retentionInDays", _is("logRetentionDays"), "as chosen"),
    (WORKSPACE, "properties.workspaceCapping.dailyQuotaGb", _is("logDailyLimitGb"), "a cap on spending"),
    (INSIGHTS, "properties.WorkspaceResourceId", logs_of, "where alerts look"),
    (PLAN, "properties.zoneRedundant", _is("zoneRedundant"), "as chosen"),
    (
        SITE,
        "properties.publicNetworkAccess",
        lambda one: "Disabled" if chosen(one, "privateInbound") else "Enabled",
        "closed where it has an endpoint",
    ),
    (SITE, "properties.serverFarmId", _id(PLAN), "on this plan"),
    (
        SITE,
        "properties.keyVaultReferenceIdentity",
        _app_identity,
        "else a system identity is looked for",
    ),
    (SITE, "identity.userAssignedIdentities", lambda one: {identity_of(one).id: {}}, "roles exist before the app"),
    (
        SITE,
        f"{FLEX}.deployment.storage.authentication.userAssignedIdentityResourceId",
        _app_identity,
        "no keys",
    ),
    (SITE, f"{FLEX}.scaleAndConcurrency.instanceMemoryMB", _is("instanceMemoryMB"), "what is paid for"),
    (SITE, f"{FLEX}.scaleAndConcurrency.maximumInstanceCount", _is("maximumInstanceCount"), "a cap on spending"),
    (
        SITE,
        f"{FLEX}.scaleAndConcurrency.triggers.http.perInstanceConcurrency",
        _is("httpConcurrency"),
        "the default is 1 stream an instance",
    ),
    (GATE, "properties.platform.enabled", _gated(True, otherwise=False), "a gate that is taken away again"),
    (
        GATE,
        "properties.globalValidation.requireAuthentication",
        _gated(True, otherwise=False),
        "a gate that is closed, or open",
    ),
    (
        GATE,
        "properties.globalValidation.unauthenticatedClientAction",
        _gated("Return401", otherwise="AllowAnonymous"),
        "callers are no browsers",
    ),
    (
        GATE,
        "properties.globalValidation.excludedPaths",
        _gated(["/health/live", "/health/ready", "/health/upstream", "/webhooks/upstream"]),
        "probes and monitors bring nothing, and webhooks are signed",
    ),
    (GATE, "properties.httpSettings.requireHttps", _gated(True), "no plain text"),
    (GATE, f"{ENTRA}.enabled", _gated(True), "a gate that opens"),
    (GATE, f"{ENTRA}.registration.clientId", lambda one: chosen(one, "entraClientId") or None, "whose tokens"),
    (GATE, f"{ENTRA}.registration.openIdIssuer", _gated(ISSUER), "tokens of this tenant, and of no other"),
    (
        GATE,
        f"{ENTRA}.validation.allowedAudiences",
        lambda one: _gated([chosen(one, "entraClientId"), f"api://{chosen(one, 'entraClientId')}"])(one),
        "tokens for this app",
    ),
]


def hardening(project: Project) -> Iterator[str]:
    """Every value that keeps the deployment closed and the app running is set, in every variant."""
    for deployment in project.deployments():
        rows = [(kind, path, value, why) for kind, path, value, why in FIXED]
        rows += [(kind, path, wanted(deployment), why) for kind, path, wanted, why in FOLLOWING]
        for kind, path, value, why in rows:
            for one in deployment.of(kind):
                if (found := one.at(path)) != value:
                    yield f"{deployment.name}: {path} of {one.name} is {found}, not {value}: {why}"
        site = deployment.one(SITE)
        for name in sorted((site.at("properties.siteConfig") or {}).keys() ^ SITE_CONFIG):
            why = "Flex Consumption refuses it" if name in REFUSED else "it is not on both sides"
            yield f"{deployment.name}: siteConfig.{name}: {why}"
        yield from _site_faults(deployment, site)


def _site_faults(deployment: Deployment, site: Resource) -> Iterator[str]:
    container = deployment.one(CONTAINER).name
    package = formatted(site.at(f"{FLEX}.deployment.storage.value"))
    if package != f"{{storageAccounts.primaryEndpoints.blob}}{container}":
        yield f"{deployment.name}: the package comes from {package}"
    ready = site.at(f"{FLEX}.scaleAndConcurrency.alwaysReady") or []
    if sorted(ready, key=lambda one: str(one.get("name"))) != _ready(deployment):
        yield f"{deployment.name}: always ready are {ready}"
    if {one.name for one in deployment.of(PASSWORDS)} != {"ftp", "scm"}:
        yield f"{deployment.name}: passwords are on"


def present(project: Project) -> Iterator[str]:
    """Each resource is there exactly if it was chosen: a model, people who are told, roles of a deployer."""
    for deployment in project.deployments():
        given = deployment.given
        has_model = not (given.get("upstreamBaseUrl") or given.get("upstreams"))
        wanted = {
            MODEL: has_model,
            DEPLOYED_MODEL: has_model,
            "Microsoft.Insights/metricAlerts": has_model,
            "Microsoft.Insights/actionGroups": bool(given.get("alertEmail")),
            "Microsoft.Network/virtualNetworks": chosen(deployment, "vnetEnabled") and not given.get("appSubnetId"),
            WORKSPACE: not given.get("workspaceId"),
            VAULT: not given.get("keyVaultId"),
            IDENTITY: 2 if given.get("customerKeyId") else 1,
        }
        wanted |= dict.fromkeys((STORAGE, INSIGHTS, PLAN, SITE, CONTAINER, GATE), True)
        for kind, is_wanted in wanted.items():
            if len(deployment.of(kind)) != is_wanted:
                yield f"{deployment.name}: {len(deployment.of(kind))} of {kind}"


def defaults(project: Project) -> Iterator[str]:
    """By default, nothing unsafe or costly is deployed."""
    declared = project.compiled.template["parameters"]
    for name, value in DEFAULTS.items():
        found = declared.get(name, {}).get("defaultValue")
        if found != value:
            yield f"{name} is {found} by default, not {value}"
