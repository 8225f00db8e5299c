"""Checks role assignments: exactly the roles that the code and the platform need, with the ids that Azure publishes."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from local.stack.process import ROOT
from tests.infra.deployment import Deployment, Resource, referred
from tests.infra.project import Project

ASSIGNMENT = "Microsoft.Authorization/roleAssignments"
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
# The names of built-in roles by id, as Azure publishes them, independent of the names in our Bicep.
BUILT_IN = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd": "Cognitive Services OpenAI User",
    "e147488a-f6f5-4113-8e2d-b22465e65bf6": "Key Vault Crypto Service Encryption User",
}
STORAGE = "Microsoft.Storage/storageAccounts"
VAULT = "Microsoft.KeyVault/vaults"
INSIGHTS = "Microsoft.Insights/components"
MODEL = "Microsoft.CognitiveServices/accounts"
# Roles that the platform needs: for leases, host keys and the package, for references to secrets, and for telemetry.
PLATFORM = {
    ("Storage Blob Data Owner", STORAGE),
    ("Key Vault Secrets User", VAULT),
    ("Monitoring Metrics Publisher", INSIGHTS),
}
# The clients that the code creates, by class name, and the role that each one needs.
CLIENTS = {
    "Queues": ("Storage Queue Data Contributor", STORAGE),
    "Table": ("Storage Table Data Contributor", STORAGE),
    "get_bearer_token_provider": ("Cognitive Services OpenAI User", MODEL),
    "BlobServiceClient": ("Storage Blob Data Owner", STORAGE),
    "SecretClient": ("Key Vault Secrets User", VAULT),
}
GUIDS = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")  # the space of names of Azure's function guid()
DEPLOYER = {("Key Vault Secrets Officer", VAULT)}
# The parameters that name a resource at which roles are given, and which this deployment does not make.
ELSEWHERE = ("upstreamResourceId", "keyVaultId", "customerKeyId")
Roles = set[tuple[str, str]]
KEY = "Microsoft.KeyVault/vaults/keys"
# The identity of storage has one role, at the customer's key.
OF_STORAGE = {("Key Vault Crypto Service Encryption User", KEY)}


def identity_of(deployment: Deployment) -> Resource:
    """Return the app's identity."""
    storage = (deployment.one(STORAGE).at("identity.userAssignedIdentities") or {}).keys()
    (found,) = [one for one in deployment.of(IDENTITY) if one.id not in storage]
    return found


def key_identities(deployment: Deployment) -> list[str]:
    """Return the ids of the identities by which storage uses a key: one or none."""
    return [one.id for one in deployment.of(IDENTITY) if one.id != identity_of(deployment).id]


def needed(service: Path = ROOT / "shared" / "bootstrap.py") -> Roles:
    """Return the roles that the app's identity needs for the platform and for the clients that the code creates."""
    text = service.read_text(encoding="utf-8")
    return PLATFORM | {role for client, role in CLIENTS.items() if re.search(rf"\b{client}(\.\w+)?\(", text)}


def roles(project: Project) -> Iterator[str]:
    """No role is missing or superfluous. The deployer has one role, and each role is limited to one resource."""
    for deployment in project.deployments():
        for fault in _faults(deployment):
            yield f"{deployment.name}: {fault}"


def _faults(deployment: Deployment) -> Iterator[str]:
    held: dict[str, Roles] = {}
    for one in deployment.of(ASSIGNMENT):
        held.setdefault(_principal(one), set()).add(_role(one))
        yield from _assignment_faults(deployment, one)
    app = identity_of(deployment).id
    deployer = deployment.given.get("principalId", "")
    has_model = bool(deployment.of(MODEL))
    has_upstream = has_model or bool(deployment.given.get("upstreamResourceId"))
    expected = {app: {pair for pair in needed() if has_upstream or pair[1] != MODEL}, deployer: DEPLOYER}
    expected |= dict.fromkeys(key_identities(deployment), OF_STORAGE)
    expected.pop("", None)
    for principal in held.keys() | expected.keys():
        wanted, has = expected.get(principal, set()), held.get(principal, set())
        yield from (f"{principal}: {pair} is missing" for pair in sorted(wanted - has))
        yield from (f"{principal}: {pair} is not needed" for pair in sorted(has - wanted))


def _principal(one: Resource) -> str:
    """Return the id of the identity that gets a role, or the principal that was named."""
    found = referred(one.at("properties.principalId"))
    return found[0] if found and found[1] == "principalId" else str(one.at("properties.principalId"))


def _role(one: Resource) -> tuple[str, str]:
    definition = str(one.at("properties.roleDefinitionId"))
    provider, *pairs = _scope(one).rpartition("/providers/")[2].split("/")
    return BUILT_IN.get(definition.rpartition("/")[2], definition), "/".join([provider, *pairs[::2]])


def _scope(one: Resource) -> str:
    return one.id.partition(f"/providers/{ASSIGNMENT}")[0]


def _assignment_faults(deployment: Deployment, one: Resource) -> Iterator[str]:
    elsewhere = [deployment.given.get(name) for name in ELSEWHERE]
    if _scope(one) not in {*(other.id for other in deployment.resources), *elsewhere}:
        yield f"a role is given on {_scope(one)}, which is no resource of this deployment"
    definition = str(one.at("properties.roleDefinitionId"))
    parts = (_scope(one), _principal(one), definition.rpartition("/")[2])
    if one.name != str(uuid.uuid5(GUIDS, "-".join(parts))):
        yield f"{one.id}: its name is not made of resource, principal and role, so two could collide"
    if not re.fullmatch(r"/subscriptions/[^/]+/providers/Microsoft.Authorization/roleDefinitions/[^/]+", definition):
        yield f"{definition} is not a role"
    is_app = referred(one.at("properties.principalId")) is not None
    wanted = "ServicePrincipal" if is_app else deployment.given.get("principalType", "User")
    if (kind := one.at("properties.principalType")) != wanted:
        yield f"{one.id}: {kind} is not what the principal is"
