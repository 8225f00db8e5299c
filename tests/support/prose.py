"""The sentences of the README and the docs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local.stack.process import ROOT

SHORTEST = 4
"""The words of a sentence, at least. What has fewer is a name or a value in a table."""

PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").glob("*.md")),
]
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_CODE = re.compile(r"`[^`]*`")
_ITEM = re.compile(r"^ *(?:[-*]|\d+\.) +", re.MULTILINE)
_ROW = re.compile(r"^\|.*$", re.MULTILINE)
_HEADING = re.compile(r"^#.*$|<!--.*?-->", re.MULTILINE)
_RULE = re.compile(r"^[|: -]+$")
_END = re.compile(r"(?<=[.!?:])[*_)\"”]*\s+(?=[*_(\"“]*[A-Z`\d])")


@dataclass(frozen=True)
class Sentence:
    """A sentence of a page, without its marks. A piece of code and a link are one word and its text."""

    page: str
    text: str

    @property
    def words(self) -> int:
        """The number of its words."""
        return len([word for word in self.text.split() if any(one.isalnum() for one in word)])


def sentences(page: Path) -> Iterator[Sentence]:
    """Yield the sentences of the paragraphs, the lists and the cells of tables. Headings and code are left out."""
    text = _CODE.sub("Code", _LINK.sub(r"\1", _FENCE.sub("", page.read_text(encoding="utf-8"))))
    for part in _parts(text):
        for sentence in _END.split(" ".join(part.split())):
            found = Sentence(page.name, sentence.replace("**", ""))
            if found.words >= SHORTEST:
                yield found


def lines(page: Path) -> Iterator[str]:
    """Yield the lines that could be broken: no row of a table, no program, no picture, no heading."""
    for line in _HEADING.sub("", _ROW.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))).splitlines():
        if " " in line.strip() and not line.startswith("!["):
            yield line


def _parts(text: str) -> Iterator[str]:
    """Yield the texts that end where a sentence must end: paragraphs, items and cells."""
    for row in _ROW.findall(text):
        if not _RULE.match(row):
            yield from row.strip("|").split("|")
    for block in re.split(r"\n\s*\n", _HEADING.sub("", _ROW.sub("", text))):
        yield from _ITEM.split(block)
