"""A client of the table: how its driver is run, and what it is expected to show."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from local.environments.catalogue import VENV
from local.stack.process import ROOT
from tests.clients.table.cells import Cell, Text, lacks, raises, whole

# Every client gets the whole answer in these cases.
WHOLE = ("whole", "streamed", "tool", "impatient", "long")
# These show a developer how a client behaves. The page has a column for each.
TELLING = ("queued", "failed", "failed_stream", "incomplete", "incomplete_stream", "cut")
# These run directly at the model, too.
DIRECT = (*TELLING, "impatient")
# How many works a case starts at the model, if it is not one.
WORKS = {"tool": 2}
# Directly, each of three tries of a call that outlasts its client starts its own work.
DIRECT_WORKS = {"impatient": 3}


@dataclass(frozen=True)
class Client:
    """A client: its name and tested version on the page, its driver, and what it shows.

    `home` is the folder of its driver, below `tests`. `environment` is where it is installed, or None for the
    environment of the app. `shows` are the cells of its calls through the service, and `directly` those of its calls
    to the model itself that differ. `works` are the numbers of works that differ from WORKS, and `direct_works` from
    DIRECT_WORKS.
    """

    name: str
    version: str
    driver: str
    environment: str | None
    shows: Mapping[str, Cell]
    directly: Mapping[str, Cell]
    works: Mapping[str, int] = field(default_factory=dict)
    direct_works: Mapping[str, int] = field(default_factory=dict)
    home: str = "clients"

    @property
    def identifier(self) -> str:
        """The name of its tests: that of its driver, and its environment where one driver serves two."""
        return f"{self.driver}-{self.version}"

    @property
    def command(self) -> list[str]:
        """The command of its driver. Arguments follow."""
        if self.driver.endswith(".mjs"):
            return ["node", str(ROOT / "tests" / self.home / "drivers" / self.driver)]
        python = str(VENV / self.environment / "bin" / "python") if self.environment else sys.executable
        return [python, "-m", f"tests.{self.home}.drivers.{self.driver}"]

    def direct_cell(self, case: str) -> Cell:
        """Return what it shows for a call to the model itself."""
        return self.directly.get(case, self.shows[case])

    def work_count(self, case: str) -> int:
        """Return how many works a case starts through the service."""
        usual = 0 if self.shows[case] == lacks() else WORKS.get(case, 1)
        return self.works.get(case, usual)

    def direct_work_count(self, case: str) -> int:
        """Return how many works a case starts at the model itself."""
        usual = 0 if self.shows[case] == lacks() else DIRECT_WORKS.get(case, 1)
        return self.direct_works.get(case, usual)


def row(state: str | None = None, **cells: Cell) -> dict[str, Cell]:
    """Return the cells of a client that calls a whole answer by this state."""
    return {case: whole(state) for case in WHOLE} | cells


def gives_up(error: str, **cells: Cell) -> dict[str, Cell]:
    """Return the direct cells of a client that raises this error when its time-out has passed on every try."""
    return {"impatient": raises(error, Text.NONE), **cells}
