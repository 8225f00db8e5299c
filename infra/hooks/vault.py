"""The vault's secrets: whether one is there, and how the first ones are written.

Resource Manager is asked first. The vault's firewall does not stop it, and whoever may deploy a vault may write there
at once. Only if it refuses, the vault itself is asked, which needs a role and a way through the firewall.
https://learn.microsoft.com/rest/api/keyvault/keyvault/secrets/create-or-update
"""

from dataclasses import dataclass

from infra.hooks.azure import MANAGEMENT_SCOPE, AzureError, call, patiently

SCOPE = "https://vault.azure.net/.default"
OFFICER = "Key Vault Secrets Officer"
AGAIN = "azd hooks run postprovision"  # also where an environment has only outputs, and must not be deployed from
WRITE = "Microsoft.KeyVault/vaults/secrets/write"
# Why a vault answers 403: https://learn.microsoft.com/azure/key-vault/general/rest-error-codes
ROLE_MISSING = frozenset({"ForbiddenByRbac"})
CLOSED = frozenset({"ForbiddenByFirewall", "ForbiddenByConnection"})


@dataclass(frozen=True)
class Vault:
    """Where a vault is.

    `url` is its own address, `id` its resource id, and `roles_s` how many seconds to wait for the role of a new
    deployment.
    """

    url: str
    id: str
    management_url: str
    roles_s: float

    def at_manager(self, name: str) -> str:
        """Return the URL of a secret at Resource Manager."""
        return f"{self.management_url}{self.id}/secrets/{name}?api-version=2024-11-01"

    def at_vault(self, name: str) -> str:
        """Return the URL of a secret at the vault."""
        return f"{self.url.rstrip('/')}/secrets/{name}?api-version=7.4"


def holds(vault: Vault, name: str) -> bool:
    """Return whether the vault has a secret of that name. Raise AzureError if nobody says so."""
    try:
        try:
            call("GET", vault.at_manager(name), MANAGEMENT_SCOPE)
        except AzureError as error:
            if error.status != 403:
                raise
            _at_vault("GET", vault, name)
    except AzureError as error:
        if error.status == 404:
            return False
        raise
    return True


def write(vault: Vault, name: str, value: str, content_type: str) -> None:
    """Write a secret. Raise AzureError if neither Resource Manager nor the vault takes it. No text has the value."""
    try:
        body = {"properties": {"value": value, "contentType": content_type}}
        call("PUT", vault.at_manager(name), MANAGEMENT_SCOPE, body)
    except AzureError as error:
        if error.status != 403:
            raise
        _at_vault("PUT", vault, name, {"value": value, "contentType": content_type})


def _at_vault(method: str, vault: Vault, name: str, body: object = None) -> None:
    def asked() -> None:
        call(method, vault.at_vault(name), SCOPE, body)

    try:
        patiently(asked, waits_for=f"the role {OFFICER}", codes=ROLE_MISSING, wait_s=vault.roles_s)
    except AzureError as error:
        raise _explained(error) from None


def _explained(error: AzureError) -> AzureError:
    """Return the error with what mends it, if it is one of those that a deployer meets."""
    if error.code in CLOSED:
        mend = (
            f"the vault is closed to this machine, and you lack {WRITE} at Resource Manager. Ask for that right, or"
            " let your address in: `azd env set OPERATOR_IP_RANGES ADDRESS`, then `azd provision`, both in the"
            " environment that deploys"
        )
    elif error.code in ROLE_MISSING:
        mend = f"you have neither {WRITE} nor the role {OFFICER}. Ask for one of them, then run `{AGAIN}`"
    else:
        return error
    return AzureError(f"{error}: {mend}", error.status, error.code)
