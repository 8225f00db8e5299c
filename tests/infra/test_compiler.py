"""Microsoft's compiler, its linter and its formatter have nothing to say about the Bicep files."""

import os
import re
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


def test_the_compiler_on_the_path_goes_before_the_one_beside_the_project(tmp_path: Path) -> None:
    """Either will do."""
    (tmp_path / "bicep").write_text("#!/bin/sh\n", encoding="utf-8")
    assert program({"PATH": "/nowhere"}, beside=tmp_path / "bicep") == tmp_path / "bicep"
    (tmp_path / "bicep").chmod(0o755)
    assert program({"PATH": str(tmp_path)}, beside=Path("/nowhere")) == tmp_path / "bicep"


def test_a_missing_compiler_fails_in_ci_and_is_one_line_on_a_laptop() -> None:
    """Without it nothing is checked, which must not look like a pass."""
    with pytest.raises(pytest.fail.Exception, match="put `bicep` on the path"):
        program({"PATH": "/nowhere", "CI": "true"}, beside=Path("/nowhere"))
    with pytest.raises(pytest.skip.Exception, match="put `bicep` on the path"):
        program({"PATH": "/nowhere"}, beside=Path("/nowhere"))


def test_a_rule_of_the_linter_is_off_only_with_a_reason() -> None:
    """Every other rule is a warning. Errors would end a build earlier, and the gate takes both."""
    text = (ROOT / "infra" / "bicepconfig.json").read_text(encoding="utf-8")
    levels = dict(re.findall(r'"([a-z-]+)": \{ "level": "(\w+)" \}', text))
    explained = re.findall(r'// [^\n]{20,}\n +"([a-z-]+)": \{ "level": "off" \}', text)
    assert explained == [name for name, level in levels.items() if level == "off"]
    assert set(levels.values()) == {"warning", "off"}
    assert {
        "what-if-short-circuiting",
        "use-safe-access",
        "use-description-params",
        "no-unused-params",
    } <= levels.keys()
