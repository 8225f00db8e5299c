"""The pages for deploying and operating agree with the real parameters, host limits and costs."""

import json
import re

import pytest

from local.bench.costs import IDLE_REQUESTS, Plan, polled, polls, table
from local.stack.process import ROOT
from tests.infra.naming import KINDS, PREFIXES

DEPLOY, OPERATIONS, LANDING = (
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("deploy", "operations", "landing-zones")
)
# Variables that azd sets itself.
BY_AZD = {"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID"}


def test_every_choice_is_explained() -> None:
    """Two tables list exactly the variables that azd passes to the deployment and does not set itself.

    One is of the page for deploying, and the other of that for platform teams.
    """
    given = (ROOT / "infra" / "main.bicepparam").read_text(encoding="utf-8")
    variables = set(re.findall(r"readEnvironmentVariable\('(\w+)'", given))
    chapter = DEPLOY.partition("## What can be chosen")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", chapter + LANDING.partition("\n## ")[0], re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(variables - BY_AZD)


def test_every_kind_that_can_be_named_is_explained() -> None:
    """The page for platform teams lists the kinds of RESOURCE_NAMES."""
    chapter = LANDING.partition("## Names and tags")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", chapter, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == KINDS.keys() | PREFIXES.keys()


def test_the_hosts_limits_are_explained() -> None:
    """The page for deploying explains each queue setting, the function timeout and the concurrency per instance."""
    chapter = DEPLOY.partition("## Limits of the host")[2].partition("\n## ")[0]
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    for name in (*host["extensions"]["queues"], "functionTimeout", "perInstanceConcurrency"):
        assert f"`{name}`" in chapter


@pytest.mark.parametrize("rate", [0.01, 1])
def test_the_cost_tables_are_those_of_the_script(rate: float) -> None:
    """The page for operators has the tables that the cost model prints. A change of the model requires one there."""
    assert table(Plan(rate, 2.0, 50)) in OPERATIONS
    assert f"{IDLE_REQUESTS:,} storage requests" in OPERATIONS


def test_the_cost_model_is_near_the_measured_figure() -> None:
    """The model is within 15 % of the figure measured for 2 s responses at 25 a second, without the purge."""
    measured = float(
        re.findall(r"with its share of sweeps[^|]*\| ([\d.]+)", (ROOT / "docs/figures.md").read_text("utf-8"))[0]
    )
    assert polled(2, Plan(25, 2.0, 50)).requests / 1000 - 4 == pytest.approx(measured, rel=0.15)


def test_the_cost_model_counts_polls_on_the_real_schedule() -> None:
    """A response is polled every second at first, and every minute in the end."""
    assert (polls(2), polls(10)) == (2, 10)
    assert polls(7_200) - polls(3_600) == 60


def test_the_docs_say_what_was_not_run() -> None:
    """Both pages say that nothing has been deployed, and the workflow says that it has not been run."""
    assert all("**Nothing here has been deployed yet.**" in text for text in (DEPLOY, OPERATIONS))
    assert "NOT RUN" in (ROOT / ".github" / "workflows" / "infra.yml").read_text(encoding="utf-8")
