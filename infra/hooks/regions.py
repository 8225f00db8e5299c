"""Checks before a deployment that its region can have it: Flex Consumption, and quota for the model.

azd does neither here. It reads no metadata of a template that is deployed with a .bicepparam.
"""

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from infra.hooks.azure import MANAGEMENT, MANAGEMENT_SCOPE, AzureError, call
from infra.hooks.package import ROOT
from infra.hooks.values import WrongValue, group_of

MAIN = ROOT / "infra" / "main.bicep"
MODEL, SKU, CAPACITY = "gpt-5-mini", "GlobalStandard", "50"  # the defaults in main.bicepparam
_LIST = re.compile(r"@allowed\(\[([^\]]*)\]\)\s*param location string")
_VERSION = "2025-06-01"
_RESOURCES = "api-version=2021-04-01"


def regions_of(template: str) -> "list[str]":
    """Return the regions that a template takes, from the text of infra/main.bicep."""
    found = _LIST.search(template)
    return re.findall(r"'(\w+)'", found[1]) if found else []


def check_region(environment: Mapping[str, str]) -> str:
    """Return what to say if no region is chosen yet, or an empty string. Raise WrongValue for one that is refused."""
    region, listed = environment.get("AZURE_LOCATION", ""), regions_of(MAIN.read_text(encoding="utf-8"))
    names = ", ".join(listed)
    if not region:
        return f"No region is chosen yet. azd asks for one, and these have Flex Consumption: {names}."
    if region not in listed:
        raise WrongValue(
            f"AZURE_LOCATION is {region}, and infra/main.bicep lists these as the regions with Flex Consumption:"
            f" {names}. Choose one by `azd env set AZURE_LOCATION {listed[0] if listed else 'NAME'}`, for example"
        )
    return ""


def check_quota(environment: Mapping[str, str]) -> str:
    """Return what to say about the quota of a model that is made here, or an empty string.

    Nothing is asked after a deployment, which has taken its own part of the quota, or for an account that comes back.
    Raises WrongValue if there is too little for an account that is not there yet. One that a failed deployment or a
    pipeline has made is no reason to say anything. If Azure does not tell, that is said, and the deployment goes on.
    """
    subscription, region = environment.get("AZURE_SUBSCRIPTION_ID"), environment.get("AZURE_LOCATION")
    has_upstream = environment.get("UPSTREAM_BASE_URL") or environment.get("UPSTREAMS")
    is_there = environment.get("APP_RESOURCE_ID") or environment.get("MODEL_RECOVER", "").lower() == "true"
    capacity = environment.get("MODEL_CAPACITY") or CAPACITY
    if not (subscription and region) or has_upstream or is_there or not capacity.isdigit():
        return ""
    name = f"OpenAI.{environment.get('MODEL_SKU') or SKU}.{environment.get('MODEL_NAME') or MODEL}"
    base = f"{environment.get('AZURE_MANAGEMENT_ENDPOINT', MANAGEMENT)}/subscriptions/{subscription}"
    try:
        found = _left(base, region, name)
    except AzureError as error:
        return f"The quota {name} was not looked at, because {error}."
    if found is None:
        return (
            f"Azure lists no quota {name} in {region}. If it refuses the model, choose another by"
            " `azd env set MODEL_NAME NAME` or `azd env set MODEL_SKU NAME`, or another AZURE_LOCATION."
        )
    return _too_little(environment, base, name, found) if found < int(capacity) else ""


def _too_little(environment: Mapping[str, str], base: str, name: str, found: int) -> str:
    """Return what to say about a quota of which too little is left, or an empty string.

    Raises WrongValue if the environment has no model account that could have taken the rest.
    """
    capacity, region = environment.get("MODEL_CAPACITY") or CAPACITY, environment.get("AZURE_LOCATION")
    left = f"{region} has {max(found, 0)} left of the quota {name}, and MODEL_CAPACITY is {capacity}."
    try:
        if _has_account(base, group_of(environment), environment.get("AZURE_ENV_NAME", "")):
            return ""
    except AzureError as error:
        return f"{left} A model that is there already may have the rest. That was not looked at, because {error}."
    less = f"`azd env set MODEL_CAPACITY {found}` takes what is left, and " if found > 0 else ""
    raise WrongValue(f"{left} {less}`azd env set AZURE_LOCATION NAME` chooses another region")


def _left(base: str, region: str, name: str) -> "int | None":
    """Return what is left of a quota, in thousands of tokens a minute, or None if there is none of that name."""
    url = f"{base}/providers/Microsoft.CognitiveServices/locations/{region}/usages?api-version={_VERSION}"
    found = call("GET", url, MANAGEMENT_SCOPE)
    try:
        listed: list[Any] = found["value"]
        left = {one["name"]["value"].lower(): int(one["limit"] - one["currentValue"]) for one in listed}
    except (KeyError, TypeError, AttributeError, ValueError):
        raise AzureError("Azure's answer has no quotas") from None
    return left.get(name.lower())


def _has_account(base: str, group: str, environment: str) -> bool:
    """Return whether a resource group has a model account of an environment of azd. Raise AzureError if nobody says."""
    kind = urllib.parse.quote("resourceType eq 'Microsoft.CognitiveServices/accounts'")
    try:
        found = call("GET", f"{base}/resourceGroups/{group}/resources?$filter={kind}&{_RESOURCES}", MANAGEMENT_SCOPE)
    except AzureError as error:
        if error.status == 404:  # the group is not there yet
            return False
        raise
    try:
        return any((one.get("tags") or {}).get("azd-env-name") == environment for one in found["value"])
    except (KeyError, TypeError, AttributeError):
        raise AzureError("Azure's answer has no resources") from None
