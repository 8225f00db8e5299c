"""The names of settings as the code reads them: found in its syntax, seen at run time, and listed in the README."""

import re
from collections.abc import Iterator, Mapping

from shared import settings
from tests.infra.settings import NEVER_LOCAL, PLATFORMS, in_readme, read_by_code
from tests.infra.trees import ROOT

SOURCE = ROOT / "shared" / "settings.py"


class Watched(Mapping[str, str]):
    """An environment that remembers what it was asked for."""

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


def test_the_names_found_in_the_syntax_are_those_asked_for() -> None:
    """No name is missed and none is made up, whatever way the code reads it."""
    least = {"CALLERS": '[{"name": "ann"}]', "UPSTREAM_BASE_URL": "https://a.example/v1", "AzureWebJobsStorage": "x"}
    environment = Watched(least)
    settings.load_settings(environment)
    assert environment.asked == read_by_code()


def test_every_name_in_the_source_is_found() -> None:
    """Names look like names: a reading in a new style would be missed by the tree and seen here."""
    names = re.findall(
        r"\"((?:[A-Z]+_)+[A-Z]+|CALLERS|TELEMETRY|AzureWebJobsStorage\w*)\"", SOURCE.read_text(encoding="utf-8")
    )
    assert set(names) == read_by_code()


def test_the_readme_lists_what_is_read() -> None:
    """In the table, but for what the platform sets, and the identity, which is told beside the storage account."""
    code = read_by_code() - PLATFORMS - {"AZURE_CLIENT_ID"}
    assert in_readme() <= code
    assert code <= in_readme()
    assert "`AZURE_CLIENT_ID`" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert read_by_code() >= NEVER_LOCAL
