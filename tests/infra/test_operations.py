"""The handbook of operations: what it says of parameters, of the host and of costs is what is there."""

import json
import re

import pytest

from local.bench.costs import IDLE_REQUESTS, Plan, polled, polls, table
from tests.infra.trees import ROOT

TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
# What azd fills in by itself.
BY_AZD = {"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID"}


def test_every_choice_is_explained() -> None:
    """The variables that azd hands to the deployment are those of the table."""
    given = json.loads((ROOT / "infra" / "main.parameters.json").read_text(encoding="utf-8"))["parameters"]
    variables = {re.sub(r"\$\{(\w+).*", r"\1", one["value"]) for one in given.values()}
    chapter = TEXT.partition("### What can be chosen")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", chapter, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == variables - BY_AZD


def test_the_hosts_limits_are_explained() -> None:
    """Each number of the queues' settings, and the time-out, has its reason."""
    chapter = TEXT.partition("### Limits of the host")[2].partition("\n## ")[0]
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    for name in (*host["extensions"]["queues"], "functionTimeout", "perInstanceConcurrency"):
        assert f"`{name}`" in chapter


@pytest.mark.parametrize("rate", [0.01, 1])
def test_the_tables_of_costs_are_those_of_the_script(rate: float) -> None:
    """Whoever changes the model changes the handbook."""
    assert table(Plan(rate, 2.0, 50)) in TEXT
    assert f"{IDLE_REQUESTS:,} storage requests" in TEXT


def test_the_model_of_costs_is_near_what_was_measured() -> None:
    """The measured figure for a response of 2 s at 25 a second, in which no purge is, within a tenth."""
    measured = float(re.findall(r"([\d.]+) with its share of sweeps", (ROOT / "docs/figures.md").read_text("utf-8"))[0])
    assert polled(2, Plan(25, 2.0, 50)).requests / 1000 - 4 == pytest.approx(measured, rel=0.1)


def test_polls_are_counted_as_they_are_made() -> None:
    """Every second at first, every 30 s in the end."""
    assert (polls(2), polls(10)) == (2, 10)
    assert polls(7_200) - polls(3_600) == 120


def test_a_rule_of_the_project_is_kept() -> None:
    """What was not checked is said plainly, here and in the workflow."""
    assert "**Nothing here has been deployed yet.**" in TEXT
    assert "NOT RUN" in (ROOT / ".github" / "workflows" / "infra.yml").read_text(encoding="utf-8")
