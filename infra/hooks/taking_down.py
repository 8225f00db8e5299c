"""Ends `azd down` where it would delete what this deployment did not make: `python -m infra.hooks.taking_down`.

azd deletes every resource group in which its deployment has a resource. A role at an upstream, a vault or a key is such
a resource, and it is in their group: https://github.com/Azure/azure-dev/pull/7603
"""

import os
import sys
from collections.abc import Iterator, Mapping

from infra.hooks.values import group_of, resource_name

WITH_A_ROLE = ("UPSTREAM_RESOURCE_ID", "KEY_VAULT_ID", "CUSTOMER_KEY_ID")
OTHERS = ("WORKSPACE_ID", "APP_SUBNET_ID", "ENDPOINT_SUBNET_ID", "PRIVATE_DNS_ZONES")


def refusal(environment: Mapping[str, str]) -> str:
    """Return why `azd down` must not run, with the commands to run in its place, or an empty string."""
    group = group_of(environment)
    own = f"/subscriptions/{environment.get('AZURE_SUBSCRIPTION_ID', '')}/resourceGroups/{group}"
    named, roles = _ids(environment, WITH_A_ROLE), environment.get("ROLES_ELSEWHERE", "").split()
    groups = {_group(one).lower(): _group(one) for one in (*named, *roles)}
    others = sorted(one for lower, one in groups.items() if lower != own.lower())
    there = [one for one in _ids(environment, (*WITH_A_ROLE, *OTHERS)) if _group(one).lower() == own.lower()]
    is_shared = bool(there or resource_name(environment, "group"))
    if not (others or is_shared):
        return ""
    lines = ["Nothing is deleted. `azd down` deletes whole resource groups, with all that is in them:"]
    lines += [f"  {one}: this deployment has only roles there" for one in others]
    lines += [f"  {own}: it may have been there before this deployment"] if is_shared else []
    where = f"{group} --subscription {environment.get('AZURE_SUBSCRIPTION_ID', '')}"
    commands = [*_without_roles(named, roles, where), _without_resources(environment, where, is_shared)]
    lines += ["Run these in its place, and look at what each one names before:", *(f"  {one}" for one in commands)]
    return "\n".join(lines)


def _ids(environment: Mapping[str, str], names: "tuple[str, ...]") -> "list[str]":
    """Return the resource ids that these variables have. One of them may have several."""
    found = [one.strip() for name in names for one in environment.get(name, "").split(",")]
    return [one for one in found if one.startswith("/")]


def _group(resource: str) -> str:
    """Return the id of the resource group that a resource is in."""
    return "/".join(resource.split("/")[:5])


def _without_roles(named: "list[str]", roles: "list[str]", where: str) -> Iterator[str]:
    """Yield the commands that take the roles away: those that are known by their ids, and those at these resources.

    `where` is the deployment's group and its subscription, as `az` takes them.
    """
    if roles:
        yield f"az role assignment delete --ids {' '.join(roles)}"
    for one in named:
        if not any(role.lower().startswith(f"{one.lower()}/") for role in roles):
            principals = f'az identity list --resource-group {where} --query "[].principalId" --output tsv'
            yield f"for one in $({principals}); do az role assignment delete --assignee $one --scope {one}; done"


def _without_resources(environment: Mapping[str, str], where: str, is_shared: bool) -> str:
    """Return the command that deletes what this deployment has made in its group."""
    if not is_shared:
        return f"az group delete --name {where}"
    tagged = f"[?tags.\\\"azd-env-name\\\"=='{environment.get('AZURE_ENV_NAME', '')}'].id"
    return f'az resource list --resource-group {where} --query "{tagged}" --output tsv | xargs az resource delete --ids'


def main() -> int:
    """Print why `azd down` must not run, if so. Return the exit code."""
    if said := refusal(os.environ):
        print(said, file=sys.stderr)
        print("docs/deploy.md, 'Taking it down', says more.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
