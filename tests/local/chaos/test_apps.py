"""The copies of the app that `make chaos` runs: the next format of rows, and planted faults."""

from pathlib import Path

import pytest

from local.chaos.mutants import MUTANTS, Mutant
from local.chaos.world.apps import NEXT_FORMAT, Change, copied
from local.stack.process import ROOT, PartError


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_planted_fault_fits_the_app_as_it_is(mutant: Mutant, tmp_path: Path) -> None:
    """Each text to change is there once, and what replaces it is Python. Nothing else differs."""
    app = copied(tmp_path / "app", mutant.changes)
    changed = {path for path in (app / "shared").rglob("*.py") if _differs(app, path)}
    changed |= {path for path in (app / "functions").rglob("*.py") if _differs(app, path)}
    assert {str(path.relative_to(app)) for path in changed} == {change.path for change in mutant.changes}
    for path in changed:
        compile(path.read_text(encoding="utf-8"), str(path), "exec")


def test_the_next_format_of_rows_fits_the_app_as_it_is(tmp_path: Path) -> None:
    """It has a higher version, and a member that this release does not know."""
    codec = (copied(tmp_path / "app", NEXT_FORMAT) / "shared" / "storage" / "codec.py").read_text(encoding="utf-8")
    assert "ROW_VERSION = 3" in codec
    assert '"colour"' in codec


def test_a_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A planted fault that no longer fits is an error that names the file and the text."""
    with pytest.raises(PartError, match=r"host\.json has this text 0 times, not once: 'no such text'"):
        copied(tmp_path / "app", [Change("host.json", "no such text", "")])


def _differs(app: Path, path: Path) -> bool:
    return path.read_bytes() != (ROOT / path.relative_to(app)).read_bytes()
