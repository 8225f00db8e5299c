"""Values of azd's environment that a person may set."""

from collections.abc import Mapping

MAX_S = 3_600.0


class WrongValue(Exception):
    """A value of azd's environment cannot be meant. The text names it, and what is expected."""


def seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    """Return a duration in seconds. Raise WrongValue unless it is a number from 0 to 3600."""
    text = environment.get(name, "")
    try:
        found = float(text) if text else default
    except ValueError:
        found = -1.0
    if not 0 <= found <= MAX_S:
        raise WrongValue(f"{name} must be seconds from 0 to {MAX_S:.0f}, such as {default:g}")
    return found


def resource_name(environment: Mapping[str, str], kind: str) -> str:
    """Return the name that RESOURCE_NAMES gives to a kind of resource, or an empty string."""
    pairs = [one.partition("=") for one in environment.get("RESOURCE_NAMES", "").split(",")]
    return next((name.strip() for given, _, name in pairs if given.strip() == kind), "")


def group_of(environment: Mapping[str, str]) -> str:
    """Return the name of the deployment's resource group, also before its first deployment."""
    usual = f"rg-{environment.get('AZURE_ENV_NAME', '')}"
    return environment.get("AZURE_RESOURCE_GROUP") or resource_name(environment, "group") or usual
