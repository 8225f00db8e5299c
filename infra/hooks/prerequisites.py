"""Checks what a deployment needs, before `azd provision` makes anything: `python -m infra.hooks.prerequisites`.

It refuses values that the template or the app would refuse only later. It registers the resource providers, which
Azure asks for once in each subscription.
"""

import functools
import os
import re
import sys
from collections.abc import Mapping

from infra.hooks.azure import MANAGEMENT, MANAGEMENT_SCOPE, AzureError, call, patiently
from infra.hooks.bytecode import version_of_production
from infra.hooks.libraries import pip_of
from infra.hooks.long_runs import warning
from infra.hooks.package import PackageError
from infra.hooks.prepackage import python_of_package
from infra.hooks.regions import check_quota, check_region
from infra.hooks.upstreams_file import check_upstreams
from infra.hooks.values import WrongValue, seconds

WAIT_S = 300.0
ALWAYS = ("Web", "Storage", "KeyVault", "Insights", "OperationalInsights", "ManagedIdentity")
WITH_A_MODEL = ("CognitiveServices",)
WITH_A_NETWORK = ("Network", "App")  # App: the app's subnet is delegated to Microsoft.App/environments
_PENDING = "registering"
_ACCOUNT = re.compile(
    r"/subscriptions/[0-9a-f-]{36}/resourceGroups/[\w.()-]{1,90}/providers/Microsoft\.CognitiveServices/accounts/[\w.-]{2,64}",
    re.IGNORECASE,
)


def providers(environment: Mapping[str, str]) -> list[str]:
    """Return the resource providers of a deployment with this environment, such as `Microsoft.Web`."""
    has_upstream = environment.get("UPSTREAM_BASE_URL") or environment.get("UPSTREAMS")
    has_network = environment.get("VNET_ENABLED", "").lower() == "true"
    names = (*ALWAYS, *(() if has_upstream else WITH_A_MODEL), *(WITH_A_NETWORK if has_network else ()))
    return [f"Microsoft.{name}" for name in names]


def register(environment: Mapping[str, str]) -> None:
    """Register the providers that are not registered, and wait until they are. Raise AzureError if that is refused."""
    subscription = environment.get("AZURE_SUBSCRIPTION_ID")
    if not subscription:
        print("No subscription is chosen yet, so its resource providers are not registered. If a later step says")
        print("MissingSubscriptionRegistration, run this again: azd hooks run preprovision", flush=True)
        return
    base = f"{environment.get('AZURE_MANAGEMENT_ENDPOINT', MANAGEMENT)}/subscriptions/{subscription}/providers"
    missing = [name for name in providers(environment) if not _is_registered(base, name)]
    for name in missing:
        print(f"Registering {name}, once for this subscription.", flush=True)
        _register(base, name)
    wait_s = seconds(environment, "REGISTRATION_WAIT_S", WAIT_S)
    for name in missing:
        check = functools.partial(_check, base, name)
        patiently(check, waits_for=f"the resource provider {name}", codes=frozenset({_PENDING}), wait_s=wait_s)


def _is_registered(base: str, name: str) -> bool:
    found = call("GET", f"{base}/{name}?api-version=2021-04-01", MANAGEMENT_SCOPE)
    return isinstance(found, dict) and found.get("registrationState") == "Registered"


def _register(base: str, name: str) -> None:
    try:
        call("POST", f"{base}/{name}/register?api-version=2021-04-01", MANAGEMENT_SCOPE)
    except AzureError as error:
        mend = f"an owner of the subscription runs `az provider register --namespace {name}`"
        raise AzureError(f"{error}. {mend}", error.status, error.code) from None


def _check(base: str, name: str) -> None:
    if not _is_registered(base, name):
        raise AzureError(f"{name} is not registered yet: run `azd up` again in a few minutes", code=_PENDING)


def check_upstream(environment: Mapping[str, str]) -> None:
    """Raise WrongValue if the resource that the app gets a role at is no Azure OpenAI, or is nobody's upstream."""
    resource = environment.get("UPSTREAM_RESOURCE_ID", "")
    if resource and not _ACCOUNT.fullmatch(resource):
        raise WrongValue(
            "UPSTREAM_RESOURCE_ID must be /subscriptions/ID/resourceGroups/NAME/providers/"
            "Microsoft.CognitiveServices/accounts/NAME, as `az cognitiveservices account show --query id` prints it"
        )
    if resource and not (environment.get("UPSTREAM_BASE_URL") or environment.get("UPSTREAMS")):
        raise WrongValue("UPSTREAM_RESOURCE_ID names an upstream, and neither UPSTREAM_BASE_URL nor UPSTREAMS is set")


def check_kept(environment: Mapping[str, str]) -> None:
    """Raise WrongValue if the environment knows a deployment only by its outputs. Its defaults would go over it.

    `azd env refresh` makes such an environment. A value that was set, if only to nothing, is meant.
    """
    has_upstream = environment.get("APP_RESOURCE_ID") and environment.get("MODEL_DEPLOYMENT") == ""
    says_upstream = {"UPSTREAM_BASE_URL", "UPSTREAMS"} & environment.keys()
    is_private = environment.get("NETWORK_IS_PRIVATE", "").lower() == "true"
    lost = [
        *(["UPSTREAM_BASE_URL"] if has_upstream and not says_upstream else []),
        *(["VNET_ENABLED"] if is_private and "VNET_ENABLED" not in environment else []),
    ]
    if lost:
        raise WrongValue(
            f"this environment has the outputs of a deployment, and not what was set for it ({', '.join(lost)}), so the"
            " defaults would go over it. For callers and secrets run `azd hooks run postprovision`. To deploy from"
            " here, set every value of the deployment by `azd env set`, before all these"
        )


def pythons(environment: Mapping[str, str]) -> str:
    """Return a line about the Python of the hooks and that of the package. Raise PackageError if one is missing."""
    python = python_of_package(environment)
    pip_of((python, sys.executable))
    hooks = f"Python {sys.version_info[0]}.{sys.version_info[1]} runs the hooks ({sys.executable})"
    return f"{hooks}, {python or 'nothing'} compiles the package for Python {version_of_production()}."


def _say(text: str) -> None:
    if text:
        print(text, flush=True)


def main() -> int:
    """Check and register. Return the exit code."""
    try:
        print(pythons(os.environ), flush=True)
        check_kept(os.environ)
        check_upstream(os.environ)
        check_upstreams(os.environ)
        _say(check_region(os.environ))
        _say(warning(os.environ))
        register(os.environ)
        _say(check_quota(os.environ))
    except PackageError as error:
        print(f"Nothing is deployed: {error}", file=sys.stderr)
        return 1
    except (AzureError, WrongValue) as error:
        print(f"Nothing is deployed: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
