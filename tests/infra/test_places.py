"""The file of the first caller's key is where neither a deployment nor git takes it."""

from pathlib import Path

import pytest
from pathspec import GitIgnoreSpec

from infra.hooks.package import ROOT, by_core_tools
from infra.hooks.places import place
from infra.hooks.values import WrongValue
from tests.infra.azd_hooks import run
from tests.infra.vaults import Vault

GIVEN = {
    "AZURE_ENV_NAME": "test",
    "APP_RESOURCE_ID": "app",
    "APP_URL": "https://app.example",
    "AZURE_KEY_VAULT_ENDPOINT": "https://kv.example",
    "AZURE_KEY_VAULT_RESOURCE_ID": "kv",
}
# In the project: deployed and committed, only committed, and only with the path that leads back to it.
INSIDE = ["first.json", "shared/first.json", "docs/first.json", "tests/../first.json", ".azure/../first.json", ".azure"]


def caller_file(path: str) -> Path:
    """Return the file that a hook takes."""
    return place({**GIVEN, "FIRST_CALLER_FILE": path}).caller_file


@pytest.mark.parametrize("path", INSIDE)
def test_a_file_of_the_project_is_refused(path: str) -> None:
    """The package or a commit would have the API key and the signing secret."""
    with pytest.raises(
        WrongValue, match=r"FIRST_CALLER_FILE must be outside of the project, or below its folder \.azure"
    ):
        caller_file(str(ROOT / path))


def test_a_path_is_meant_from_where_the_hook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azd runs it in the project. The same path elsewhere is no file of it."""
    monkeypatch.chdir(ROOT)
    with pytest.raises(WrongValue):
        caller_file("first.json")
    monkeypatch.chdir(tmp_path)
    assert caller_file("first.json") == Path("first.json")


def test_a_link_into_the_project_is_refused(tmp_path: Path) -> None:
    """It is the file that is written."""
    (tmp_path / "kept").symlink_to(ROOT / "docs")
    with pytest.raises(WrongValue):
        caller_file(str(tmp_path / "kept" / "first.json"))


@pytest.mark.parametrize("path", [".azure/first.json", ".azure/prod/keys/first.json"])
def test_a_file_of_azd_is_taken(path: str) -> None:
    """Neither the package nor git has it, by the files that say so."""
    assert caller_file(str(ROOT / path)) == ROOT / path
    ignored = GitIgnoreSpec.from_lines((ROOT / ".gitignore").read_text(encoding="utf-8").splitlines())
    assert by_core_tools()(path)
    assert ignored.match_file(path)


@pytest.mark.parametrize("module", ["first_caller", "readiness"])
def test_a_hook_ends_with_one_line_about_it(module: str, tmp_path: Path, vault: Vault) -> None:
    """Nothing is written, neither there nor to the vault."""
    file = ROOT / ".setup" / "first-caller-of-a-test.json"
    done = run(module, tmp_path, vault, FIRST_CALLER_FILE=str(file))
    assert (done.returncode, done.stderr.count("\n"), vault.secrets) == (1, 1, {})
    assert "FIRST_CALLER_FILE must be outside of the project" in done.stderr
    assert not file.exists()
