"""Checks the network: subnets inside it, and each closed resource with a private endpoint whose names lead there."""

from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import combinations

from tests.infra.deployment import Deployment, Resource
from tests.infra.hardening import SITE, chosen
from tests.infra.project import Project
from tests.infra.roles import MODEL, STORAGE, VAULT

NETWORK = "Microsoft.Network/virtualNetworks"
ENDPOINT = "Microsoft.Network/privateEndpoints"
ZONE = "Microsoft.Network/privateDnsZones"
LINK = "Microsoft.Network/privateDnsZones/virtualNetworkLinks"
GROUP = "Microsoft.Network/privateEndpoints/privateDnsZoneGroups"
RESOURCE_GROUP = "Microsoft.Resources/resourceGroups"
# https://learn.microsoft.com/azure/private-link/private-endpoint-dns: type, group and zones of each private endpoint
ENDPOINTS = {
    "blob": (STORAGE, ["privatelink.blob.core.windows.net"]),
    "queue": (STORAGE, ["privatelink.queue.core.windows.net"]),
    "table": (STORAGE, ["privatelink.table.core.windows.net"]),
    "vault": (VAULT, ["privatelink.vaultcore.azure.net"]),
    "account": (
        MODEL,
        [
            "privatelink.openai.azure.com",
            "privatelink.cognitiveservices.azure.com",
            "privatelink.services.ai.azure.com",
        ],
    ),
    "sites": (SITE, ["privatelink.azurewebsites.net"]),
}


def _reached(deployment: Deployment) -> dict[str, tuple[str, list[str]]]:
    """Return those of `ENDPOINTS` that a deployment has: the app has one only if nothing else leads to it."""
    is_hidden = chosen(deployment, "privateInbound")
    return {name: one for name, one in ENDPOINTS.items() if deployment.of(one[0]) and (is_hidden or name != "sites")}


def network(project: Project) -> Iterator[str]:
    """With a network, the app leaves by its delegated subnet, and all that is closed has an endpoint and zones."""
    for deployment in project.deployments():
        yield from (f"{deployment.name}: {fault}" for fault in network_faults(deployment))


def network_faults(deployment: Deployment) -> Iterator[str]:
    """Yield what is wrong with the network of a deployment, or with its absence."""
    return _with_network(deployment) if chosen(deployment, "vnetEnabled") else _without(deployment)


def _without(deployment: Deployment) -> Iterator[str]:
    for kind in (NETWORK, ENDPOINT, ZONE, LINK, GROUP):
        yield from (f"{one.id} is there without a network" for one in deployment.of(kind))
    if deployment.one(SITE).at("properties.virtualNetworkSubnetId"):
        yield "the app leaves by a network that is not there"


def _with_network(deployment: Deployment) -> Iterator[str]:
    if deployment.given.get("appSubnetId"):
        yield from (f"{one.id} is made beside a network that is there" for one in deployment.of(NETWORK))
    else:
        yield from _address_faults(deployment)
        yield from _subnet_faults(deployment)
    if deployment.one(SITE).at("properties.virtualNetworkSubnetId") != _subnet(deployment, "app"):
        yield "the app does not leave by its subnet"
    yield from _endpoint_faults(deployment)
    yield from _zone_faults(deployment)


def _subnet(deployment: Deployment, name: str) -> str:
    """Return the id of a subnet, `app` or `endpoint`: the one that is there already, or the one that is made."""
    made = {"app": "app", "endpoint": "endpoints"}[name]
    return str(deployment.given.get(f"{name}SubnetId") or f"{deployment.one(NETWORK).id}/subnets/{made}")


def _address_faults(deployment: Deployment) -> Iterator[str]:
    whole = deployment.one(NETWORK)
    space = [IPv4Network(one) for one in whole.at("properties.addressSpace.addressPrefixes")]
    if [str(one) for one in space] != [deployment.given.get("vnetPrefix", "10.84.0.0/24")]:
        yield f"the network is {space}"
    parts = [IPv4Network(one["properties"]["addressPrefix"]) for one in whole.at("properties.subnets")]
    yield from (f"{part} is outside of the network" for part in parts if not any(part.subnet_of(one) for one in space))
    if any(left.overlaps(right) for left, right in combinations(parts, 2)):
        yield f"{parts} overlap"
    sizes = [one.prefixlen for one in parts]
    if len(sizes) != 2 or sizes[0] > 26 or sizes[1] > 28:
        yield f"subnets of /{sizes} are too small for 40 instances and five endpoints"


def _subnet_faults(deployment: Deployment) -> Iterator[str]:
    whole = deployment.one(NETWORK)
    subnets = {one["name"]: one["properties"] for one in whole.at("properties.subnets")}
    if subnets.keys() != {"app", "endpoints"}:
        yield f"the subnets are {sorted(subnets)}"
        return
    wanted = [{"name": "flex", "properties": {"serviceName": "Microsoft.App/environments"}}]
    if subnets["app"].get("delegations") != wanted or "delegations" in subnets["endpoints"]:
        yield "the subnet of the app is not delegated to Flex Consumption, or another is"
    if subnets["app"].get("defaultOutboundAccess") is not True:
        yield "nothing says how the app reaches the internet: a new network has no way out by default"
    if subnets["endpoints"].get("defaultOutboundAccess") is not False:
        yield "endpoints have a way out"
    if subnets["endpoints"].get("privateEndpointNetworkPolicies") != "Enabled":
        yield "rules of a network do not hold for endpoints"


def _endpoint_faults(deployment: Deployment) -> Iterator[str]:
    subnet = _subnet(deployment, "endpoint")
    wanted = {(group, deployment.one(kind).id) for group, (kind, _) in _reached(deployment).items()}
    found = []
    for one in deployment.of(ENDPOINT):
        (connection,) = one.at("properties.privateLinkServiceConnections")
        target = connection["properties"]["privateLinkServiceId"]
        found += [(group, target) for group in connection["properties"]["groupIds"]]
        if one.at("properties.subnet.id") != subnet:
            yield f"{one.name} is in another subnet"
    if sorted(found) != sorted(wanted):
        yield f"the endpoints are {sorted(found)}, not {sorted(wanted)}"


def _zone_faults(deployment: Deployment) -> Iterator[str]:
    there = deployment.given.get("privateDnsZones", "")
    zones = {one.body["name"]: one.id for one in deployment.of(ZONE)}
    needed = [zone for _, names in _reached(deployment).values() for zone in names]
    wanted = [] if there else sorted(needed)
    if sorted(zones) != wanted:
        yield f"the zones are {sorted(zones)}"
    linked = sorted(_zone_of(one) for one in deployment.of(LINK))
    if linked != wanted:
        yield f"linked are {linked}"
    network_id = _subnet(deployment, "app").partition("/subnets/")[0]
    for one in deployment.of(LINK):
        link = (one.at("properties.virtualNetwork.id"), one.at("properties.registrationEnabled"))
        if link != (network_id, False):
            yield f"{one.body['name']} is linked to {link}"
    groups = {one.id.partition("/privateDnsZoneGroups/")[0]: one for one in deployment.of(GROUP)}
    if there == "policy":
        yield from (f"a policy writes names, and so does {one}" for one in groups)
        return
    made = f"{deployment.one(RESOURCE_GROUP).id}/providers/{ZONE}"
    for endpoint in deployment.of(ENDPOINT):
        yield from _names_faults(endpoint, groups.get(endpoint.id), {one: _zone(there, made, one) for one in needed})


def _zone(there: str, made: str, name: str) -> str:
    """Return the id of a zone: the one that is listed, or one in the group that is listed, or one that is made."""
    ids = [one.strip() for one in there.split(",") if one.strip()]
    groups = [one for one in ids if ZONE.lower() not in one.lower()]
    named = [one for one in ids if one.lower().endswith(f"/{name}")]
    return named[0] if named else f"{groups[0]}/providers/{ZONE}/{name}" if groups else f"{made}/{name}"


def _zone_of(link: Resource) -> str:
    name = str(link.body["name"])
    return name.split("'")[3] if name.startswith("[format") else name.partition("/")[0]


def _names_faults(endpoint: Resource, group: Resource | None, zones: dict[str, str]) -> Iterator[str]:
    if group is None:
        yield f"no names lead to {endpoint.name}"
        return
    (kind,) = endpoint.at("properties.privateLinkServiceConnections.0.properties.groupIds")
    found = [one["properties"]["privateDnsZoneId"] for one in group.at("properties.privateDnsZoneConfigs")]
    wanted = [zones.get(name) for name in ENDPOINTS.get(kind, ("", []))[1]]
    if found != wanted:
        yield f"names lead to {endpoint.name} by {found}, not {wanted}"


def firewall(project: Project) -> Iterator[str]:
    """Each private vault is open to the operators' addresses and to nobody else, and closed if there are none."""
    for deployment in project.deployments():
        if deployment.given.get("keyVaultId"):
            continue  # its owner decides
        vault, is_private = deployment.one(VAULT), chosen(deployment, "vnetEnabled")
        listed = [one.strip() for one in deployment.given.get("operatorIpRanges", "").split(",") if one.strip()]
        rules = [one["value"] for one in vault.at("properties.networkAcls.ipRules") or []]
        if rules != listed:
            yield f"{deployment.name}: the vault is open to {rules}, not {listed}"
        access = vault.at("properties.publicNetworkAccess")
        if access != ("Disabled" if is_private and not listed else "Enabled"):
            yield f"{deployment.name}: the vault's public access is {access}"
