"""The fenced blocks of the README and the docs, and a script that runs those of a page as a reader would."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local.stack.process import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = "sh"
PROGRAMS = {"python": ("py", "python"), "js": ("mjs", "node"), "csharp": ("cs", "mcs")}
"""The languages of programs, each with the ending of its files and what runs or compiles them."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(?:#|//) ([\w.-]+\.(?:py|mjs|cs))\n")


@dataclass(frozen=True)
class Block:
    """A block of a page. `number` counts the blocks of the page from 1."""

    page: str
    number: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """Its page and its first line, by which a list names it."""
        return f"{self.page}: {self.text.partition(chr(10))[0]}"

    @property
    def file(self) -> str | None:
        """The name under which its first line tells the reader to save it, or None."""
        found = _FILE.match(self.text)
        return found[1] if found else None


def blocks() -> Iterator[Block]:
    """Yield every fenced block."""
    for page in PAGES:
        found = _BLOCK.findall(page.read_text(encoding="utf-8"))
        name = page.relative_to(ROOT).as_posix()
        yield from (Block(name, number, language, text) for number, (language, text) in enumerate(found, 1))


def script(wanted: list[Block], folder: Path) -> str:
    """Return a shell script that runs the blocks literally and in order, in one shell.

    Programs are put into the folder. One that is to be saved under a name is run by the page's commands, others now.
    """
    return "\n".join(["set -e", *(line for block in wanted for line in _lines(block, folder))])


def _lines(block: Block, folder: Path) -> Iterator[str]:
    yield f"echo {shlex.quote(f'== {block.page} {block.number}')} >&2"
    if block.language == SHELL:
        yield block.text
        return
    ending, program = PROGRAMS[block.language]
    path = folder / (block.file or f"block-{block.number}.{ending}")
    path.write_text(block.text, encoding="utf-8")
    if block.file is None:
        yield f"{program} {shlex.quote(str(path))}"  # the page may go to another folder
