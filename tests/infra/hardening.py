"""Checks that a deployment is secure and complete: property values, alert rules, defaults, tags and the network."""

from collections.abc import Iterator

from tests.infra.bicep import ABSENT, File, Resource, at, fields
from tests.infra.project import Project
from tests.infra.values import FLEX, RULES, VALUES

# Properties of siteConfig that Flex Consumption refuses (ARM error 51021).
REFUSED = {
    "alwaysOn", "ftpsState", "functionAppScaleLimit", "functionsRuntimeScaleMonitoringEnabled", "linuxFxVersion",
    "netFrameworkVersion", "preWarmedInstanceCount", "pythonVersion", "use32BitWorkerProcess",
}  # fmt: skip
ENDPOINTS = [
    ("'blob'", "'blob'", "storageId", "[ownZones[0]]"),
    ("'queue'", "'queue'", "storageId", "[ownZones[1]]"),
    ("'table'", "'table'", "storageId", "[ownZones[2]]"),
    ("'vault'", "'vault'", "vaultId", "[ownZones[3]]"),
    ("'model'", "'account'", "modelId", "modelZones"),
]
WITHOUT_TAGS = {"Microsoft.Insights/diagnosticSettings", "Microsoft.Authorization/roleAssignments"}


def hardening(project: Project) -> Iterator[str]:
    """Every value that keeps the deployment closed and the app running is set as listed in `values.py`."""
    flex = [("app", "site", f"properties.functionAppConfig.{path}", value, why) for path, value, why in FLEX]
    for module, name, path, value, why in VALUES + flex:
        resource = project.file(module).resources.get(name)
        found = at(resource.body, *path.split(".")).text if resource else "nowhere"
        if found != value:
            yield f"{module}.{name}.{path} is {found}, not {value}: {why}"
    site = project.file("app").resources["site"].body
    for name in sorted(fields(at(site, "properties", "siteConfig")).keys() & REFUSED):
        yield f"app.site.siteConfig.{name}: Flex Consumption refuses it"


def rules(project: Project) -> Iterator[str]:
    """Each alert rule has the severity, window and threshold listed in `values.py`."""
    listed = project.file("alerts").variables["rules"].children
    found = {at(one, "id").literal() or "": one for one in listed}
    for name, values in RULES.items():
        for key, value in zip(("severity", "window", "operator", "threshold", "column"), values, strict=True):
            node = at(found.get(name, ABSENT), key)
            if (node.text.strip("'") if node is not ABSENT else None) != value:
                yield f"{name}: {key} is not {value}"
    texts = {"missed", "poison", "faults", "deferred", "ended"}
    for name in texts:
        if project.file("alerts").variables[name].text != f"""'"${{join(signals.{name}, '", "')}}"'""":
            yield f"{name} is not a list of words"


def defaults(project: Project) -> Iterator[str]:
    """By default, nothing unsafe or costly is deployed."""
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
    """Every resource has the environment's tag, by which `azd down` and invoices find it.

    The app also has the tag with azd's name for the service.
    """
    for path, file in project.files.items():
        yield from (f"{path}:{one.line}: {one.name} has no tags" for one in _untagged(file))
        for one in file.modules.values():
            if one.name not in ("access", "upstreamAccess") and at(one.body, "params", "tags").text != "tags":
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
    """With a network, the app's subnet is delegated, and each closed resource has a private endpoint and DNS zones."""
    file = project.file("network")
    subnets = at(file.resources["network"].body, "properties", "subnets").children
    delegated = [at(subnet, "name").literal() for subnet in subnets if "'Microsoft.App/environments'" in subnet.text]
    if delegated != ["app"]:
        yield f"the subnets {delegated} are delegated, not that of the app"
    endpoints = [*file.variables["ownEndpoints"].children, *file.variables["modelEndpoints"].children]
    found = [tuple(at(one, key).text for key in ("name", "group", "target", "zones")) for one in endpoints]
    if found != ENDPOINTS:
        yield f"the endpoints are {found}"
    zones = [one.text for one in (*file.variables["ownZones"].children, *file.variables["modelZones"].children)]
    services = [f"'privatelink.{name}.${{storageSuffix}}'" for name in ("blob", "queue", "table")]
    others = ("vaultcore.azure.net", "openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com")
    if zones != services + [f"'privatelink.{name}'" for name in others]:
        yield f"the zones are {zones}"
    for name in ("storage", "vault", "model"):
        if at(project.file("main").modules[name].body, "params", "isPrivate").text != "vnetEnabled":
            yield f"{name} stays open with a network"
