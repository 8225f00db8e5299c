"""The Python programs that users copy: those in examples/, and those in the README and the docs."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from local.stack.process import ROOT

EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NODE_INSTALL = "npm install"
# It ends with the line, a full stop or a comma. One within a name or a version has no space behind it.
_INSTALL = re.compile(r"pip install (.+?)(?=\.?$|[.,]\s)", re.MULTILINE)
_PIN = re.compile(r"^[\w.-]+.*?==[^\\\n]*", re.MULTILINE)


@dataclass(frozen=True)
class PythonProgram:
    """A program. `name` is its file, and for a program in a page also its number there."""

    name: str
    text: str

    @property
    def install_line(self) -> str | None:
        """The command with which its text says that it is installed, or None."""
        found = _INSTALL.search(self.text)
        return found[0] if found else None

    def requirements(self) -> list[Requirement]:
        """Return what that command installs here, with the pins of the files that it reads."""
        words = iter(shlex.split(self.install_line or "")[2:])
        lines = [line for word in words for line in (_pins(ROOT / next(words)) if word == "-r" else [word])]
        found = map(Requirement, lines)
        return [one for one in found if one.marker is None or one.marker.evaluate()]


def _pins(path: Path) -> list[str]:
    """Return the lines of a lock file, without their hashes."""
    return _PIN.findall(path.read_text(encoding="utf-8"))


def python_programs() -> list[PythonProgram]:
    """Return all of them."""
    files = [
        PythonProgram(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(EXAMPLES.glob("*.py"))
    ]
    return files + [program for page in PAGES for program in _programs_in(page)]


def _programs_in(page: Path) -> list[PythonProgram]:
    texts = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    name = page.relative_to(ROOT).as_posix()
    return [PythonProgram(f"{name} {number}", text) for number, text in enumerate(texts, 1)]
