"""docs/landing-zones.md names what the deployment makes or needs."""

import re

from local.stack.process import ROOT
from tests.infra.network import ENDPOINTS

PAGE = ROOT / "docs" / "landing-zones.md"


def table(heading: str) -> list[str]:
    """Return the lines of the first table of a chapter, without its head."""
    chapter = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.search(r"(?:^\|.*\n)+", chapter, re.MULTILINE)
    return found[0].splitlines()[2:] if found else []


def test_the_zones_are_those_of_the_endpoints() -> None:
    """The table has every zone that a private endpoint needs, in the table and not below it, and no other."""
    rows = [row.split("|")[1] for row in table("Private DNS zones")]
    named = {name for row in rows for name in re.findall(r"`(privatelink\.[\w.]+)`", row)}
    shorter = {name for row in rows for name in re.findall(r"`(queue|table)`", row)}
    named |= {f"privatelink.{name}.core.windows.net" for name in shorter}
    assert named == {zone for _, zones in ENDPOINTS.values() for zone in zones}


def test_no_row_is_outside_of_its_table() -> None:
    """A line of a table follows another one, or is followed by the line under its head."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for before, line, after in zip(lines, lines[1:], lines[2:], strict=False):
        assert not line.startswith("|") or before.startswith("|") or after.startswith("|-"), line
