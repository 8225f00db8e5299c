"""Before a deployment, a hook looks at its region: whether Flex Consumption is there, and quota for the model."""

from pathlib import Path
from typing import Any

import pytest

from infra.hooks.regions import CAPACITY, MAIN, MODEL, SKU, check_region, regions_of
from infra.hooks.values import WrongValue
from local.stack.process import ROOT
from tests.infra.azd_hooks import run
from tests.infra.vaults import Vault

HERE = {"AZURE_LOCATION": "swedencentral", "APP_RESOURCE_ID": ""}
USAGES = "GET /subscriptions/s/providers/Microsoft.CognitiveServices/locations/swedencentral/usages"
GROUPS = "/subscriptions/s/resourceGroups"
UPSTREAM = {"UPSTREAM_BASE_URL": "https://a.example/v1"}


def quota(limit: float, used: float, name: str = f"OpenAI.{SKU}.{MODEL}") -> dict[str, Any]:
    """Return a quota as Azure lists it."""
    return {"name": {"value": name, "localizedValue": "x"}, "limit": limit, "currentValue": used, "unit": "Count"}


def test_a_region_without_flex_consumption_is_refused_at_once(tmp_path: Path, vault: Vault) -> None:
    """Azd does not read the list. The hook ends before anything is registered, with the command that mends it."""
    done = run("prerequisites", tmp_path, vault, AZURE_LOCATION="germanynorth")
    assert (done.returncode, vault.calls) == (1, [])
    assert "AZURE_LOCATION is germanynorth" in done.stderr
    assert "germanywestcentral" in done.stderr
    assert "`azd env set AZURE_LOCATION " in done.stderr


@pytest.mark.parametrize("region", regions_of(MAIN.read_text(encoding="utf-8")))
def test_a_region_of_the_list_is_taken(region: str) -> None:
    """Nothing is said."""
    assert check_region({"AZURE_LOCATION": region}) == ""


@pytest.mark.parametrize("region", ["Sweden Central", "SWEDENCENTRAL", "eastus2euap"])
def test_a_region_by_another_name_is_refused(region: str) -> None:
    """The text says how it is written."""
    with pytest.raises(WrongValue, match="swedencentral"):
        check_region({"AZURE_LOCATION": region})


def test_a_region_that_is_not_chosen_yet_is_said(tmp_path: Path, vault: Vault) -> None:
    """Azd asks for one afterwards, and offers some that the template refuses."""
    done = run("prerequisites", tmp_path, vault)
    assert done.returncode == 0
    assert "No region is chosen yet. azd asks for one, and these have Flex Consumption: australiaeast," in done.stdout


def test_too_little_quota_is_refused(tmp_path: Path, vault: Vault) -> None:
    """The deployment of the model would fail late. The text has what is left, and both ways out."""
    vault.quotas = [quota(1000, 0, "OpenAI.Standard.gpt-5-mini"), quota(100, 70)]
    done = run("prerequisites", tmp_path, vault, **HERE)
    assert done.returncode == 1
    assert f"swedencentral has 30 left of the quota OpenAI.{SKU}.{MODEL}, " in done.stderr
    assert f"MODEL_CAPACITY is {CAPACITY}." in done.stderr
    assert "`azd env set MODEL_CAPACITY 30`" in done.stderr
    assert "`azd env set AZURE_LOCATION NAME`" in done.stderr


def test_no_quota_at_all_leaves_only_another_region(tmp_path: Path, vault: Vault) -> None:
    """A capacity of 0 is no capacity."""
    vault.quotas = [quota(100, 100)]
    done = run("prerequisites", tmp_path, vault, **HERE)
    assert done.returncode == 1
    assert "MODEL_CAPACITY 0" not in done.stderr


def test_quota_of_the_chosen_model_is_asked_for(tmp_path: Path, vault: Vault) -> None:
    """Its name, its kind and its capacity are those of the environment. Azure may write the name in other letters."""
    vault.quotas = [quota(10, 0), quota(80, 20, "openai.datazonestandard.GPT-5")]
    chosen = {**HERE, "MODEL_NAME": "gpt-5", "MODEL_SKU": "DataZoneStandard"}
    assert run("prerequisites", tmp_path, vault, **chosen, MODEL_CAPACITY="60").returncode == 0
    assert run("prerequisites", tmp_path, vault, **chosen, MODEL_CAPACITY="61").returncode == 1


def test_a_quota_that_azure_does_not_list_stops_nothing(tmp_path: Path, vault: Vault) -> None:
    """Azure may name it in another way, so the hook says what it saw and goes on."""
    done = run("prerequisites", tmp_path, vault, **HERE)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Azure lists no quota OpenAI.{SKU}.{MODEL} in swedencentral." in done.stdout


def test_a_quota_that_cannot_be_read_stops_nothing(tmp_path: Path, vault: Vault) -> None:
    """Whoever deploys may lack the right to see it."""
    vault.quotas = [{"name": "x"}]
    done = run("prerequisites", tmp_path, vault, **HERE)
    assert done.returncode == 0
    assert "was not looked at, because Azure's answer has no quotas." in done.stdout


@pytest.mark.parametrize("given", [UPSTREAM, {"APP_RESOURCE_ID": "x"}, {"MODEL_RECOVER": "true"}])
def test_quota_that_is_not_needed_is_not_asked_for(given: dict[str, str], tmp_path: Path, vault: Vault) -> None:
    """An upstream needs none here. A model that is there, or comes back, has taken its own part already."""
    assert run("prerequisites", tmp_path, vault, **{**HERE, **given}).returncode == 0
    assert USAGES not in vault.calls


# What a group has, by what it shows: the account of a deployment that failed late, or in a pipeline, or another one.
ACCOUNTS: dict[str, dict[str, Any]] = {
    "its own": {"value": [{"tags": None}, {"tags": {"azd-env-name": "test"}}]},
    "another's": {"value": [{"tags": {"azd-env-name": "other"}}, {}]},
    "none": {"value": []},
}


@pytest.mark.parametrize("found", ACCOUNTS)
def test_a_model_that_is_there_has_its_quota(found: str, tmp_path: Path, vault: Vault) -> None:
    """A failed deployment leaves no outputs, and a pipeline begins without any. Only Azure knows the account then."""
    vault.quotas, vault.resources = [quota(80, 50)], (200, ACCOUNTS[found])
    done = run("prerequisites", tmp_path, vault, **HERE, RESOURCE_NAMES="group=rg-x")
    assert f"GET {GROUPS}/rg-x/resources" in vault.calls
    if found == "its own":
        assert (done.returncode, done.stderr) == (0, "")
        assert "quota" not in done.stdout
    else:
        assert "swedencentral has 30 left" in done.stderr


@pytest.mark.parametrize("answer", [(403, {"error": {"code": "AuthorizationFailed"}}), (200, {"value": [1]})])
def test_a_model_that_may_be_there_stops_nothing(
    answer: tuple[int, dict[str, Any]], tmp_path: Path, vault: Vault
) -> None:
    """Whoever deploys may lack the right to look, or the answer says nothing. Then the hook warns and goes on."""
    vault.quotas, vault.resources = [quota(80, 50)], answer
    done = run("prerequisites", tmp_path, vault, **HERE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "swedencentral has 30 left" in done.stdout
    assert f"GET {GROUPS}/rg-test/resources" in vault.calls


def test_the_default_model_is_that_of_the_parameters() -> None:
    """The hook does not read them, because azd does not pass them on."""
    parameters = (ROOT / "infra" / "main.bicepparam").read_text(encoding="utf-8")
    for name, default in {"MODEL_NAME": MODEL, "MODEL_SKU": SKU, "MODEL_CAPACITY": CAPACITY}.items():
        assert f"readEnvironmentVariable('{name}', '{default}')" in parameters
