"""Where a deployment's things are, from the environment that azd gives a hook."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.hooks.azure import MANAGEMENT
from infra.hooks.package import ROOT
from infra.hooks.values import WrongValue, seconds
from infra.hooks.vault import Vault

ROLES_S = 300.0
AZD = ".azure"  # what neither git nor a deployment takes
# What the runners of pipelines set: GitHub Actions and most others, and Azure Pipelines.
_RUNNERS = ("CI", "GITHUB_ACTIONS", "TF_BUILD")


@dataclass(frozen=True)
class Place:
    """Where things are: the vault, the app, its URL, and the files of this environment.

    `is_kept` says whether the file of the credentials outlives this machine.
    """

    environment: str
    vault: Vault
    app_id: str
    app_url: str
    management_url: str
    folder: Path
    caller_file: Path
    is_kept: bool

    @property
    def refresh_url(self) -> str:
        """The URL that makes the app read its Key Vault references again."""
        action = "config/configreferences/appsettings/refresh?api-version=2024-11-01"
        return f"{self.management_url}{self.app_id}/{action}"

    @property
    def base_url(self) -> str:
        """The base URL of the app's clients."""
        return f"{self.app_url}/openai/v1"


def place(environment: Mapping[str, str]) -> Place:
    """Return where things are. Raise KeyError if a variable is missing, and WrongValue."""
    name, app_id = environment["AZURE_ENV_NAME"], environment["APP_RESOURCE_ID"]
    folder, given = Path(AZD) / name, environment.get("FIRST_CALLER_FILE")
    management_url = environment.get("AZURE_MANAGEMENT_ENDPOINT", MANAGEMENT)
    return Place(
        environment=name,
        vault=Vault(
            url=environment["AZURE_KEY_VAULT_ENDPOINT"],
            id=environment["AZURE_KEY_VAULT_RESOURCE_ID"],
            management_url=management_url,
            roles_s=seconds(environment, "ROLE_WAIT_S", ROLES_S),
        ),
        app_id=app_id,
        app_url=environment["APP_URL"],
        management_url=management_url,
        folder=folder,
        caller_file=_safe(Path(given)) if given else folder / "first-caller.json",
        is_kept=bool(given) or not in_pipeline(environment),
    )


def _safe(file: Path) -> Path:
    """Return the file if its secrets are neither deployed nor committed there. Raise WrongValue if they may be."""
    whole, project = file.resolve(), ROOT.resolve()
    if project in whole.parents and (project / AZD) not in whole.parents:
        raise WrongValue(
            f"FIRST_CALLER_FILE must be outside of the project, or below its folder {AZD}, because other files of the"
            " project are deployed or committed"
        )
    return file


def in_pipeline(environment: Mapping[str, str]) -> bool:
    """Return whether a pipeline's runner runs this, whose files are gone afterwards."""
    return any(environment.get(name, "").lower() in ("true", "1") for name in _RUNNERS)
