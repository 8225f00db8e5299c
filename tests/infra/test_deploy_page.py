"""The commands of the page for deploying send the first request."""

import re
from pathlib import Path

import pytest

from infra.hooks.first_request import unnamed
from infra.hooks.places import place
from local.stack.process import ROOT
from tests.infra.azd_hooks import run
from tests.infra.test_places import GIVEN
from tests.infra.vaults import Vault

PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ELSEWHERE = {"UPSTREAM_BASE_URL": "https://a.example/v1"}
COMMAND = "azd env set FIRST_MODEL NAME --environment test"
NOT_SAID = [
    {},
    {**ELSEWHERE, "FIRST_MODEL": "gpt-5"},
    {**ELSEWHERE, "FIRST_REQUEST": "false"},
    {**ELSEWHERE, "CI": "true"},
]


def test_whoever_names_an_upstream_also_names_a_model() -> None:
    """Without a name no request is sent, and nothing shows whether the upstream lets the app in."""
    blocks = [block for block in BLOCKS if "azd env set UPSTREAM_BASE_URL" in block]
    assert blocks
    assert [block for block in blocks if "azd env set FIRST_MODEL" not in block] == []


@pytest.mark.parametrize("given", [ELSEWHERE, {"UPSTREAMS": "upstreams.json"}])
def test_a_hook_says_that_no_request_will_be_sent(given: dict[str, str], tmp_path: Path, vault: Vault) -> None:
    """The app is not deployed then, so there is time to name a model. Nothing fails."""
    done = run("first_caller", tmp_path, vault, **given)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].strip() == COMMAND


@pytest.mark.parametrize("given", NOT_SAID)
def test_a_hook_says_nothing_where_it_does_not_matter(given: dict[str, str]) -> None:
    """A model that is deployed is known, one is named, none is wanted, or a pipeline has no key to send it with."""
    assert unnamed(place({**GIVEN, **given}), given) == ""
