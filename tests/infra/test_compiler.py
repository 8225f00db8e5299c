"""Microsoft's compiler, its linter and its formatter have nothing to say about the Bicep files."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from local.stack.process import ROOT
from tests.infra.compiler import Compiler, environment, program
from tests.infra.project import VARIANTS, texts, written

FILES = sorted([*(ROOT / "infra").rglob("*.bicep"), *(ROOT / "infra").glob("*.bicepparam")])
WORKFLOW = (ROOT / ".github" / "workflows" / "infra.yml").read_text(encoding="utf-8")
STEPS = yaml.safe_load(WORKFLOW)["jobs"]["compile"]["steps"]


def gate(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the step of the workflow that asks the compiler, in a folder with the project's files."""
    (step,) = (one for one in STEPS if one.get("name") == "The compiler and its linter have nothing to say")
    path = os.pathsep.join([str(program().parent), os.environ["PATH"]])
    command = ["bash", "-e", "-c", step["run"]]
    return subprocess.run(
        command, cwd=folder, env=environment(PATH=path), capture_output=True, text=True, check=False, timeout=240
    )


def test_the_workflow_lets_the_files_pass(tmp_path: Path) -> None:
    """The gate is that the compiler and its linter say nothing."""
    done = gate(written(texts(), tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_workflow_stops_at_a_warning(tmp_path: Path) -> None:
    """An unknown property is a warning, and the compiler ends with 0. The gate does not, and shows what was said."""
    path = "infra/modules/storage.bicep"
    version = texts()
    done = gate(written({**version, path: version[path].replace("accessTier: 'Hot'", "accessTear: 'Hot'")}, tmp_path))
    assert done.returncode == 1
    assert "BCP089" in done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_formatter_leaves_a_file_as_it_is(path: Path, compiler: Compiler) -> None:
    """`bicep format` changes nothing."""
    assert compiler.formatted(path) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_formatter_leaves_a_variant_as_it_is(variant: str, compiler: Compiler) -> None:
    """`bicep format` changes nothing there either."""
    path = Path(__file__).parent / "variants" / f"{variant}.bicepparam"
    assert compiler.formatted(path) == path.read_text(encoding="utf-8")
