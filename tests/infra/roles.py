"""Checks role assignments: exactly the roles that the code and the platform need, with the ids that Azure publishes."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.infra.bicep import Resource, at
from tests.infra.project import Project
from tests.infra.trees import ROOT

# The names of built-in roles by id, as Azure publishes them, independent of the names in our Bicep.
BUILT_IN = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd": "Cognitive Services OpenAI User",
}
# Roles that the platform needs: for leases, host keys and the package, for references to secrets, and for telemetry.
PLATFORM = {
    ("Storage Blob Data Owner", "storage"),
    ("Key Vault Secrets User", "vault"),
    ("Monitoring Metrics Publisher", "insights"),
}
# The clients that the code creates, by class name, and the role that each one needs.
CLIENTS = {
    "Queues": ("Storage Queue Data Contributor", "storage"),
    "Table": ("Storage Table Data Contributor", "storage"),
    "get_bearer_token_provider": ("Cognitive Services OpenAI User", "model"),
    "BlobServiceClient": ("Storage Blob Data Owner", "storage"),
    "SecretClient": ("Key Vault Secrets User", "vault"),
}
ELSEWHERE = "infra/modules/upstreamAccess.bicep"  # the upstream of another group
UPSTREAM_ROLE = "Cognitive Services OpenAI User"
DEPLOYER = {("Key Vault Secrets Officer", "vault")}


def needed(service: Path = ROOT / "shared" / "bootstrap.py") -> set[tuple[str, str]]:
    """Return the roles that the app's identity needs for the platform and for the clients that the code creates."""
    text = service.read_text(encoding="utf-8")
    return PLATFORM | {role for client, role in CLIENTS.items() if re.search(rf"\b{client}(\.\w+)?\(", text)}


def roles(project: Project) -> Iterator[str]:
    """No role is missing or superfluous. The deployer has one role, and each role is limited to one resource."""
    held: dict[str, set[tuple[str, str]]] = {"appPrincipalId": set(), "deployerPrincipalId": set()}
    for path, file in project.files.items():
        for one in file.resources.values():
            if one.kind != "Microsoft.Authorization/roleAssignments":
                continue
            if path == ELSEWHERE:
                yield from (*_assignment_faults(one), *_elsewhere_faults(project, one))
                continue
            if path != "infra/modules/access.bicep":
                yield f"{path}:{one.line}: a role is given outside of the module that gives roles"
                continue
            yield from _assignment_faults(one)
            held.setdefault(at(one.body, "properties", "principalId").text, set()).add(_role(project, one))
    expected = {"appPrincipalId": needed(), "deployerPrincipalId": DEPLOYER}
    for principal, pairs in held.items():
        for pair in sorted(pairs ^ expected.get(principal, set())):
            yield f"{principal}: {pair} is {'not needed' if pair in pairs else 'missing'}"
    yield from _principal_faults(project)


def _elsewhere_faults(project: Project, one: Resource) -> Iterator[str]:
    """Yield what is wrong with the role at an upstream elsewhere. It is the one that a model of our own gives."""
    role, scope = _role(project, one, "upstreamAccess")
    if (role, scope, at(one.body, "properties", "principalId").text) != (UPSTREAM_ROLE, "account", "appPrincipalId"):
        yield f"{ELSEWHERE}: {role} at {scope} is not what the upstream needs"
    if project.file("main").modules["upstreamAccess"].body.text.count("identity.outputs.principalId") != 1:
        yield f"{ELSEWHERE}: the role is not the app's"


def _role(project: Project, one: Resource, module: str = "access") -> tuple[str, str]:
    definition = at(one.body, "properties", "roleDefinitionId").text
    key = re.search(r"roles\.(\w+)\)", definition)
    table = project.file(module).variables["roles"]
    id_ = at(table, key.group(1)).literal() if key else None
    return BUILT_IN.get(id_ or "", f"unknown role {definition}"), at(one.body, "scope").text


def _assignment_faults(one: Resource) -> Iterator[str]:
    properties = at(one.body, "properties")
    definition = at(properties, "roleDefinitionId").text
    if not definition.startswith("subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles."):
        yield f"{one.name}: {definition} is not a role"
    principal, scope = at(properties, "principalId").text, at(one.body, "scope").text
    role = at(properties, "roleDefinitionId").children[-1].children[-1].text
    if at(one.body, "name").text != f"guid({scope}.id, {principal}, {role})":
        yield f"{one.name}: its name is not made of scope, principal and role, so two could collide"
    kind = at(properties, "principalType").text
    if kind != ("'ServicePrincipal'" if principal == "appPrincipalId" else "deployerPrincipalType"):
        yield f"{one.name}: {kind} is not what the principal is"
    conditions = {"model": "modelAccountName", "vault": principal if principal == "deployerPrincipalId" else ""}
    condition = conditions.get(scope, "")
    if (one.condition.text if one.condition else "") != (f"(!empty({condition}))" if condition else ""):
        yield f"{one.name}: not given exactly when there is what it is about"


def _principal_faults(project: Project) -> Iterator[str]:
    given = at(project.file("main").modules["access"].body, "params")
    wanted = {
        "appPrincipalId": "identity.outputs.principalId",
        "deployerPrincipalId": "principalId",
        "deployerPrincipalType": "principalType",
        "storageName": "storage.outputs.name",
        "vaultName": "vault.outputs.name",
        "insightsName": "monitoring.outputs.insightsName",
        "modelAccountName": "makesModel ? model!.outputs.name : ''",
    }
    for name, text in wanted.items():
        if at(given, name).text != text:
            yield f"access: {name} is {at(given, name).text}, not {text}"
    if [child.text for child in at(project.file("main").modules["app"].body, "dependsOn").children] != ["access"]:
        yield "app: does not wait for its roles"
