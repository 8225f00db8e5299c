"""Before `azd down`, a hook ends it where whole groups would go that this deployment did not make."""

from pathlib import Path

import pytest

from infra.hooks.taking_down import refusal
from local.stack.process import ROOT
from tests.infra.azd_hooks import run
from tests.infra.project import Project
from tests.infra.roles import ASSIGNMENT
from tests.infra.vaults import Vault

HERE = {"AZURE_ENV_NAME": "prod", "AZURE_SUBSCRIPTION_ID": "s", "AZURE_RESOURCE_GROUP": "rg-prod"}
AI = "/subscriptions/s/resourceGroups/rg-ai/providers/Microsoft.CognitiveServices/accounts/res"
KEY = "/subscriptions/t/resourceGroups/rg-prod/providers/Microsoft.KeyVault/vaults/kv/keys/k"
ROLE = f"{AI}/providers/{ASSIGNMENT}/11111111-1111-5111-8111-111111111111"
BESIDE = "/subscriptions/S/resourceGroups/RG-prod/providers/Microsoft.OperationalInsights/workspaces/log"
OWN = "/subscriptions/s/resourceGroups/rg-prod"
ALL = "az group delete --name rg-prod --subscription s"
TAGGED = (
    'az resource list --resource-group rg-prod --subscription s --query "[?tags.\\"azd-env-name\\"==\'prod\'].id"'
    " --output tsv | xargs az resource delete --ids"
)
PRINCIPALS = '$(az identity list --resource-group rg-prod --subscription s --query "[].principalId" --output tsv)'
# What the environment says, the groups that are named, and the commands in place of `azd down`.
ENDS = {
    "a role at an upstream": ({"ROLES_ELSEWHERE": ROLE}, [AI], [f"az role assignment delete --ids {ROLE}", ALL]),
    "a role that is known twice": (
        {"ROLES_ELSEWHERE": ROLE, "UPSTREAM_RESOURCE_ID": AI.upper().replace("/SUBSCRIPTIONS/S", "/subscriptions/s")},
        [AI],
        [f"az role assignment delete --ids {ROLE}", ALL],
    ),
    "a deployment that failed, and has no outputs": (
        {"AZURE_RESOURCE_GROUP": "", "UPSTREAM_RESOURCE_ID": AI},
        [AI],
        [
            f"for one in {PRINCIPALS}; do az role assignment delete --assignee $one --scope {AI}; done",
            ALL,
        ],
    ),
    "a group of the same name in another subscription": ({"CUSTOMER_KEY_ID": KEY}, [KEY], [ALL]),
    "a group that is named": ({"RESOURCE_NAMES": "app=a, group = rg-prod"}, [OWN], [TAGGED]),
    "a group with what was there": ({"WORKSPACE_ID": BESIDE}, [OWN], [TAGGED]),
}
GOES_ON: list[dict[str, str]] = [
    {},
    {"RESOURCE_NAMES": "app=a"},
    {"ROLES_ELSEWHERE": "", "UPSTREAM_RESOURCE_ID": "", "PRIVATE_DNS_ZONES": "policy"},
    {"WORKSPACE_ID": BESIDE.replace("RG-prod", "rg-logs")},  # it gets no role
]


@pytest.mark.parametrize(("given", "groups", "commands"), ENDS.values(), ids=ENDS)
def test_what_others_made_is_not_deleted(given: dict[str, str], groups: list[str], commands: list[str]) -> None:
    """The groups are named, and so are the commands that delete roles and resources of this deployment only."""
    lines = [line.strip() for line in refusal({**HERE, **given}).splitlines()]
    named = [line.partition(":")[0].lower() for line in lines if line.startswith("/subscriptions/")]
    assert named == ["/".join(one.split("/")[:5]).lower() for one in groups]
    assert [command for command in commands if command not in lines] == []
    assert "Nothing is deleted." in lines[0]


@pytest.mark.parametrize("given", GOES_ON)
def test_a_group_of_its_own_may_go(given: dict[str, str]) -> None:
    """Nothing of this deployment is elsewhere, and nothing else is in its group."""
    assert refusal({**HERE, **given}) == ""


def test_azd_ends(tmp_path: Path, vault: Vault) -> None:
    """A hook before a command that fails ends the command. Nothing is asked of Azure."""
    done = run("taking_down", tmp_path, vault, UPSTREAM_RESOURCE_ID=AI)
    assert (done.returncode, done.stdout, vault.calls) == (1, "", [])
    assert "'Taking it down'" in done.stderr
    assert run("taking_down", tmp_path, vault).returncode == 0


def test_the_groups_of_every_variant_are_known(real: Project) -> None:
    """What a variant makes outside of its group is a role that the output names. So the hook sees all such groups."""
    for deployment in real.deployments():
        group = deployment.one("Microsoft.Resources/resourceGroups")
        inside = (group.id, f"[resourceId('{group.id.split('/')[2]}', '{group.name}', ")  # some ids stay expressions
        outside = [one for one in deployment.resources if not one.id.startswith(inside)]
        assert {one.kind for one in outside} <= {ASSIGNMENT}
        assert sorted(deployment.outputs["ROLES_ELSEWHERE"].split()) == sorted(one.id for one in outside)
        given = {"ROLES_ELSEWHERE": deployment.outputs["ROLES_ELSEWHERE"]}
        assert bool(refusal({**HERE, **given})) == bool(outside)


def test_the_handbook_says_it() -> None:
    """Both pages say that `azd down` deletes whole groups, and where it does not run."""
    deploy, _, chapter = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").partition("## Taking it down")
    assert "`azd down` ends with it" in chapter.partition("\n## ")[0]
    assert "deploy.md#taking-it-down" in (ROOT / "docs" / "landing-zones.md").read_text(encoding="utf-8")
    assert "taking-it-down" in deploy
