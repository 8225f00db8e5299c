"""Checks azure.yaml: what azd packs, and which hooks it runs."""

from collections.abc import Iterator
from typing import Any

from infra.hooks.prepackage import PACKAGE
from infra.hooks.upstream_secrets import SECRETS
from local.stack.process import ROOT
from tests.infra.parameters import BY_AZD
from tests.infra.project import Project

# By the names of azd's events. That of the service runs with `azd deploy` alone, too.
PACKAGING = {"prepackage": "infra.hooks.prepackage"}
HOOKS = {
    "preprovision": "infra.hooks.prerequisites",
    "postprovision": "infra.hooks.first_caller",
    "postdeploy": "infra.hooks.readiness",
    "predown": "infra.hooks.taking_down",
}
DIST = PACKAGE.relative_to(ROOT).as_posix()  # what the hook makes
SERVICE = {"project": ".", "dist": DIST, "host": "function", "language": "python", "remoteBuild": False}
# From here on it reads .funcignore (1.18) and remoteBuild, and shows what hooks print (issue "azd up").
OLDEST = ">= 1.25.3"


def azd(project: Project) -> Iterator[str]:
    """azure.yaml holds what azd needs, and its hooks run existing modules on every operating system."""
    azure = project.azure
    if azure.keys() != {"name", "requiredVersions", "infra", "services", "pipeline", "hooks"}:
        yield f"azure.yaml holds {sorted(azure)}"
    if azure.get("requiredVersions") != {"azd": OLDEST}:
        yield f"azd is not {OLDEST}"
    if azure.get("infra") != {"provider": "bicep", "path": "infra", "module": "main"}:
        yield "azd does not find the Bicep"
    services = azure.get("services", {})
    found = dict(services.get("app", {}))
    hooks = found.pop("hooks", {})
    if services.keys() != {"app"} or found != SERVICE:
        yield "the service is not the function app of this folder, packed here, in the folder that the hook makes"
    given = {passed for passed, _ in project.passed().values()} - {*BY_AZD.values()}
    listed = azure.get("pipeline", {}).get("variables", [])
    if azure.get("pipeline", {}).get("provider") != "github" or sorted(listed) != sorted(given):
        yield f"a pipeline does not get {sorted(given ^ {*listed})}"
    secrets = sorted(secret.variable for secret in SECRETS)
    if sorted(azure.get("pipeline", {}).get("secrets", [])) != secrets:
        yield f"a pipeline does not get the secrets {secrets}"
    yield from _hook_faults(hooks, PACKAGING)
    yield from _hook_faults(azure.get("hooks", {}), HOOKS)


def _hook_faults(hooks: dict[str, Any], wanted: dict[str, str]) -> Iterator[str]:
    for name in wanted.keys() ^ hooks.keys():
        yield f"hook {name}: not on both sides"
    for name, hook in hooks.items():
        module = wanted.get(name, "")
        if hook != {
            "posix": _system("sh", "python3", name, module),
            "windows": _system("pwsh", "python", name, module),
        }:
            yield f"hook {name} does not run {module} on every system, where its output is seen"
        if not (ROOT / f"{module.replace('.', '/')}.py").is_file():
            yield f"hook {name}: there is no {module}"


def _system(shell: str, python: str, name: str, module: str) -> dict[str, object]:
    secrets = {secret.variable: secret.variable for secret in SECRETS}
    seen = {} if name in PACKAGING else {"interactive": True}
    given = {"secrets": secrets} if name == "postprovision" else {}
    return {"shell": shell, "run": f"{python} -m {module}", **seen, **given}
