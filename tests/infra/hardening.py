"""What must hold for a deployment to be signed off: values, resource by resource, with the reason for each."""

from collections.abc import Iterator

from tests.infra.bicep import File, Resource, at, fields
from tests.infra.project import Project

PRIVATE = "isPrivate ? 'Disabled' : 'Enabled'"
DENIED = "isPrivate ? 'Deny' : 'Allow'"
SWITCH = "service"

# module, resource, path, value as written, why
VALUES = [
    ("storage", "account", "properties.allowSharedKeyAccess", "false", "no keys"),
    ("storage", "account", "properties.defaultToOAuthAuthentication", "true", "no keys in the portal either"),
    ("storage", "account", "properties.allowBlobPublicAccess", "false", "nothing is public"),
    ("storage", "account", "properties.allowCrossTenantReplication", "false", "data stay in the tenant"),
    ("storage", "account", "properties.minimumTlsVersion", "'TLS1_2'", "no old TLS"),
    ("storage", "account", "properties.supportsHttpsTrafficOnly", "true", "no plain text"),
    ("storage", "account", "properties.publicNetworkAccess", PRIVATE, "closed with a network"),
    ("storage", "account", "properties.networkAcls.defaultAction", DENIED, "closed with a network"),
    ("storage", "account", "properties.networkAcls.bypass", "'None'", "no way around the firewall"),
    ("storage", "account", "kind", "'StorageV2'", "tables and queues"),
    ("storage", "packages", "properties.publicAccess", "'None'", "the code is not public"),
    ("storage", "blobs", "properties.deleteRetentionPolicy.enabled", "true", "a package deleted by mistake comes back"),
    ("vault", "vault", "properties.enableRbacAuthorization", "true", "roles and no access policies"),
    ("vault", "vault", "properties.enableSoftDelete", "true", "secrets deleted by mistake come back"),
    ("vault", "vault", "properties.enablePurgeProtection", "purgeProtection ? true : null", "false is refused"),
    ("vault", "vault", "properties.networkAcls.defaultAction", DENIED, "closed with a network"),
    (
        "vault",
        "vault",
        "properties.publicNetworkAccess",
        "isPrivate && empty(operatorIpRanges) ? 'Disabled' : 'Enabled'",
        "closed with a network, but for operators",
    ),
    ("vault", "audit", "scope", "vault", "who read a secret is known"),
    ("monitoring", "workspace", "properties.features.disableLocalAuth", "true", "no keys"),
    ("monitoring", "workspace", "properties.workspaceCapping.dailyQuotaGb", "dailyLimitGb", "a cap on spending"),
    ("monitoring", "insights", "properties.DisableLocalAuth", "true", "Entra-only ingestion"),
    ("monitoring", "insights", "properties.WorkspaceResourceId", "workspace.id", "where alerts look"),
    ("model", "account", "properties.disableLocalAuth", "true", "no keys"),
    ("model", "account", "properties.customSubDomainName", "name", "Entra tokens need one"),
    ("model", "account", "properties.publicNetworkAccess", PRIVATE, "closed with a network"),
    ("model", "account", "properties.networkAcls.defaultAction", DENIED, "closed with a network"),
    ("app", "plan", "sku.name", "'FC1'", "Flex Consumption"),
    ("app", "plan", "sku.tier", "'FlexConsumption'", "Flex Consumption"),
    ("app", "plan", "properties.reserved", "true", "Linux"),
    ("app", "site", "kind", "'functionapp,linux'", "Flex Consumption is Linux"),
    ("app", "site", "properties.httpsOnly", "true", "no plain text"),
    ("app", "site", "properties.siteConfig.minTlsVersion", "'1.2'", "no old TLS"),
    ("app", "site", "properties.siteConfig.scmMinTlsVersion", "'1.2'", "no old TLS"),
    ("app", "site", "properties.keyVaultReferenceIdentity", "identityId", "else a system identity is looked for"),
    ("app", "site", "identity.type", "'UserAssigned'", "roles exist before the app"),
    ("app", "site", "properties.virtualNetworkSubnetId", "empty(subnetId) ? null : subnetId", "the way out"),
    ("app", "noFtp", "properties.allow", "false", "no passwords"),
    ("app", "noFtp", "name", "'ftp'", "no passwords"),
    ("app", "noPasswords", "properties.allow", "false", "no passwords"),
    ("app", "noPasswords", "name", "'scm'", "no passwords"),
    ("app", "gate", "properties.globalValidation.requireAuthentication", "true", "a gate that is closed"),
    (
        "app",
        "gate",
        "properties.globalValidation.unauthenticatedClientAction",
        "'Return401'",
        "callers are no browsers",
    ),
    ("app", "gate", "properties.platform.enabled", "true", "a gate that is there"),
]
FLEX = [
    ("deployment.storage.type", "'blobContainer'", "how packages come"),
    ("deployment.storage.value", "packagesUrl", "the container that is made before"),
    ("deployment.storage.authentication.type", "'UserAssignedIdentity'", "no keys"),
    ("deployment.storage.authentication.userAssignedIdentityResourceId", "identityId", "no keys"),
    ("runtime.name", "'python'", "the language"),
    ("runtime.version", "'3.12'", "the version that all tests run beside"),
    ("scaleAndConcurrency.instanceMemoryMB", "instanceMemoryMB", "what is paid for"),
    ("scaleAndConcurrency.maximumInstanceCount", "maximumInstanceCount", "a cap on spending"),
    (
        "scaleAndConcurrency.triggers.http.perInstanceConcurrency",
        "httpConcurrency",
        "the default is 1 stream an instance",
    ),
]
# What Flex Consumption refuses in siteConfig (ARM error 51021).
REFUSED = {
    "alwaysOn", "ftpsState", "functionAppScaleLimit", "functionsRuntimeScaleMonitoringEnabled", "linuxFxVersion",
    "netFrameworkVersion", "preWarmedInstanceCount", "pythonVersion", "use32BitWorkerProcess",
}  # fmt: skip
WITHOUT_TAGS = {"Microsoft.Insights/diagnosticSettings", "Microsoft.Authorization/roleAssignments"}


def hardening(project: Project) -> Iterator[str]:
    """Every value that keeps the deployment closed, and the app running, is as it must be."""
    flex = [("app", "site", f"properties.functionAppConfig.{path}", value, why) for path, value, why in FLEX]
    for module, name, path, value, why in VALUES + flex:
        resource = project.file(module).resources.get(name)
        found = at(resource.body, *path.split(".")).text if resource else "nowhere"
        if found != value:
            yield f"{module}.{name}.{path} is {found}, not {value}: {why}"
    site = project.file("app").resources["site"].body
    for name in sorted(fields(at(site, "properties", "siteConfig")).keys() & REFUSED):
        yield f"app.site.siteConfig.{name}: Flex Consumption refuses it"


def defaults(project: Project) -> Iterator[str]:
    """Nothing unsafe or costly is there unless somebody chooses it."""
    wanted = {
        "vaultPurgeProtection": "true",
        "vaultRecover": "false",
        "maximumInstanceCount": "40",
        "instanceMemoryMB": "2048",
        "httpConcurrency": "50",
        "alwaysReadyHttp": "0",
        "vnetEnabled": "false",
        "entraClientId": "''",
        "storageSku": "'Standard_LRS'",
        "logDailyLimitGb": "5",
        "principalType": "'User'",
        "upstreamApiKeyInVault": "false",
    }
    for name, text in wanted.items():
        parameter = project.file("main").parameters.get(name)
        found = parameter.default.text if parameter and parameter.default else "nothing"
        if found != text:
            yield f"{name} is {found} by default, not {text}"


def tags(project: Project) -> Iterator[str]:
    """Everything has the environment's tag, by which `azd down` and invoices find it, and the app azd's name for it."""
    for path, file in project.files.items():
        yield from (f"{path}:{one.line}: {one.name} has no tags" for one in _untagged(file))
        for one in file.modules.values():
            if one.name != "access" and at(one.body, "params", "tags").text != "tags":
                yield f"{path}:{one.line}: {one.name} is not given tags"
    if at(project.file("main").variables["tags"], "azd-env-name").text != "environmentName":
        yield "azd-env-name is not the environment's name"
    (service,) = project.azure["services"]
    if f"'azd-service-name': '{service}'" not in project.file("app").resources["site"].body.text:
        yield f"azd finds no app for the service {service}"


def _untagged(file: File) -> Iterator[Resource]:
    for one in file.resources.values():
        found = at(one.body, "tags").text
        is_tagged = found == "tags" or (one.name == "site" and found.startswith("union(tags, {"))
        if _has_tags(one) and not is_tagged:
            yield one


def _has_tags(one: Resource) -> bool:
    kinds_below = one.kind.count("/") > 1 and not one.kind.endswith("/virtualNetworkLinks")
    return not (one.is_existing or kinds_below or one.kind in WITHOUT_TAGS)


def network(project: Project) -> Iterator[str]:
    """With a network: the app's subnet is delegated, and each thing that is closed has an endpoint and its zones."""
    file = project.file("network")
    subnets = at(file.resources["network"].body, "properties", "subnets").children
    delegated = [at(subnet, "name").literal() for subnet in subnets if "'Microsoft.App/environments'" in subnet.text]
    if delegated != ["app"]:
        yield f"the subnets {delegated} are delegated, not that of the app"
    groups = {at(one, "group").literal() for one in file.variables["ownEndpoints"].children}
    if groups != {"blob", "queue", "table", "vault"}:
        yield f"endpoints are there for {groups}"
    targets = {at(one, "group").literal(): at(one, "target").text for one in file.variables["ownEndpoints"].children}
    if targets != {"blob": "storageId", "queue": "storageId", "table": "storageId", "vault": "vaultId"}:
        yield f"endpoints lead to {targets}"
    zones = [one.text for one in (*file.variables["ownZones"].children, *file.variables["modelZones"].children)]
    services = [f"'privatelink.{name}.${{storageSuffix}}'" for name in ("blob", "queue", "table")]
    others = ("vaultcore.azure.net", "openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com")
    if zones != services + [f"'privatelink.{name}'" for name in others]:
        yield f"the zones are {zones}"
    for name in ("storage", "vault", "model"):
        if at(project.file("main").modules[name].body, "params", "isPrivate").text != "vnetEnabled":
            yield f"{name} stays open with a network"
