"""The commands of the page for deploying send the first request, and deploy the package of today."""

import re
import shutil
import subprocess
import zipfile
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


def test_the_package_without_azd_has_no_file_that_is_gone(tmp_path: Path) -> None:
    """The second run makes the file anew. What was deleted meanwhile is not deployed any longer."""
    if shutil.which("zip") is None:
        pytest.skip("there is no zip here")
    (block,) = (one for one in BLOCKS if "package.zip" in one)
    command = block.splitlines()[0]
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text('#!/bin/sh\nrm -rf .package && mkdir .package && touch ".package/$MADE"\n')
    make.chmod(0o755)
    for made in ("old.py", "new.py"):
        environment = {"PATH": f"{make.parent}:/usr/bin:/bin", "MADE": made}
        subprocess.run(["/bin/sh", "-ec", command], cwd=tmp_path, env=environment, check=True, timeout=60)
        with zipfile.ZipFile(tmp_path / "package.zip") as package:
            assert [name for name in package.namelist() if name.endswith(".py")] == [made]
