"""The setting names found in the syntax are those read at run time and those listed in docs/settings.md."""

import re
from collections.abc import Iterator, Mapping

from local.stack.process import ROOT
from shared import settings
from tests.infra.settings import NEVER_LOCAL, PLATFORMS, in_docs, read_by_code

SOURCE = ROOT / "shared" / "settings.py"


class Watched(Mapping[str, str]):
    """An environment that records the names that are read from it."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values_given = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self.values_given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_given)

    def __len__(self) -> int:
        return len(self.values_given)


def test_the_names_found_in_the_syntax_are_those_read_at_run_time() -> None:
    """The syntax tree gives every name that the code reads and no other, whichever way the code reads it."""
    least = {"CALLERS": '[{"name": "ann"}]', "UPSTREAM_BASE_URL": "https://a.example/v1", "AzureWebJobsStorage": "x"}
    environment = Watched(least)
    settings.load_settings(environment)
    assert environment.asked == read_by_code()


def test_every_name_in_the_source_is_found() -> None:
    """Every string in the source that looks like the name of a setting is found in the syntax tree.

    This test fails if the code reads a setting in a way that the search of the tree misses.
    """
    looks_like_one = r"\"((?:[A-Z]+_)+[A-Z]+|CALLERS|PRICES|UPSTREAMS|TELEMETRY|WATCH|CONSOLE|AzureWebJobsStorage\w*)\""
    names = re.findall(looks_like_one, SOURCE.read_text(encoding="utf-8"))
    assert set(names) == read_by_code()


def test_the_page_lists_the_settings_that_are_read() -> None:
    """docs/settings.md lists every setting except those that the platform sets and `AZURE_CLIENT_ID`.

    It names that one together with the storage account.
    """
    assert in_docs() == read_by_code() - PLATFORMS - {"AZURE_CLIENT_ID"}
    assert "`AZURE_CLIENT_ID`" in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert read_by_code() >= NEVER_LOCAL
