"""The workflow that `azd pipeline config` sets up, and the path without azd: what can be said of them without Azure."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.hooks.upstream_secrets import SECRETS
from local.stack.process import ROOT
from tests.infra.compiler import SUBSCRIPTION, running

FILE = ROOT / ".github" / "workflows" / "azure-dev.yml"  # the name that azd looks for
TEXT = FILE.read_text(encoding="utf-8")
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)
(JOB,) = WORKFLOW["jobs"].values()
HANDBOOK = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
WITHOUT_AZD = HANDBOOK.partition("## Without azd")[2].partition("\n## ")[0]


def taken(variables: dict[str, str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the step that takes the variables of the repository over, in the project's folder."""
    (step,) = (one for one in JOB["steps"] if one.get("name") == "Take the values of azd env set")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"VARS": json.dumps(variables), "GITHUB_ENV": str(folder / "env"), "PATH": path}
    return subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_workflow_says_that_it_was_not_run() -> None:
    """Nobody takes it for proven."""
    assert "NOT RUN" in TEXT.partition("name:")[0]


def test_a_pipeline_takes_the_values_that_are_set(tmp_path: Path) -> None:
    """An empty one keeps its default: an empty text would be no switch. Names that no parameter reads stay outside."""
    given = {
        "VNET_ENABLED": "true",
        "CONSOLE": "",
        "PATH": "/evil",
        "RESOURCE_TAGS": "a=1,b=2",
        "AZURE_ENV_NAME": "prod",
        "AZURE_PRINCIPAL_TYPE": "User",
    }
    done = taken(given, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "env").read_text(encoding="utf-8").splitlines()
    assert sorted(lines) == ["AZURE_ENV_NAME=prod", "RESOURCE_TAGS=a=1,b=2", "VNET_ENABLED=true"]


def test_a_value_of_two_lines_ends_a_pipeline(tmp_path: Path) -> None:
    """A second line would be a variable of its own."""
    done = taken({"RESOURCE_TAGS": "a=1\nNODE_OPTIONS=x"}, tmp_path)
    assert done.returncode == 1
    assert "RESOURCE_TAGS" in done.stderr


def test_a_pull_request_only_says_what_would_change() -> None:
    """The steps that change something are left out there. A repository without the variables, or a fork, has no job."""
    runs = {one["run"]: one.get("if", "") for one in JOB["steps"] if "run" in one and one["run"].startswith("azd ")}
    assert [run for run in runs if "provision" in run or "deploy" in run] == [
        "azd provision --preview --no-prompt",
        "azd provision --no-prompt",
        "azd deploy --no-prompt",
    ]
    for run, condition in runs.items():
        changes = "--preview" not in run and "auth login" not in run
        assert condition == ("github.event_name != 'pull_request'" if changes else "")
    assert "vars.AZURE_CLIENT_ID != ''" in JOB["if"]
    assert "head.repo.full_name == github.repository" in JOB["if"]


def test_a_pipeline_signs_in_by_the_credentials_that_azd_makes() -> None:
    """Azd makes them for a branch and for pull requests. A job with an environment would have another name."""
    assert "environment" not in JOB
    assert WORKFLOW["permissions"]["id-token"] == "write"
    assert WORKFLOW["env"]["AZURE_PRINCIPAL_TYPE"] == "ServicePrincipal"


def test_one_step_gets_the_secrets_of_the_upstream() -> None:
    """Its hook writes them to the vault, where nobody can be asked. A pull request and a preview do not see them."""
    given = {one.variable: f"${{{{ secrets.{one.variable} }}}}" for one in SECRETS}
    assert [one["run"] for one in JOB["steps"] if one.get("env") == given] == ["azd provision --no-prompt"]
    assert len(re.findall(r"\bsecrets\.", TEXT)) == len(SECRETS)


def test_the_parameters_of_the_path_without_azd_can_be_read() -> None:
    """The page's commands name one file of parameters, and what they export is enough for it."""
    files = set(re.findall(r"--parameters (\S+)", WITHOUT_AZD))
    assert files == {"infra/main.bicepparam"}
    exported = dict(re.findall(r"(AZURE_\w+)=(\$\([^)]*\)|\S+)", WITHOUT_AZD))
    given = {name: SUBSCRIPTION if value.startswith("$(") else value for name, value in exported.items()}
    assert given.keys() == {"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID"}
    with running(**given) as compiler:
        found = compiler.parameters(ROOT / files.pop())
        assert compiler.snapshot(ROOT / "infra" / "main.bicepparam")["predictedResources"]
    assert [found[name] for name in ("environmentName", "location", "principalId")] == [*given.values()]


@pytest.mark.parametrize("verb", ["what-if", "create"])
def test_the_path_without_azd_previews_and_creates(verb: str) -> None:
    """Both deploy to the subscription, as the template says, in the region that was exported."""
    (line,) = re.findall(rf"^az deployment sub {verb} .*$", WITHOUT_AZD, re.MULTILINE)
    assert "--location $AZURE_LOCATION" in line
    assert "targetScope = 'subscription'" in (ROOT / "infra" / "main.bicep").read_text(encoding="utf-8")
