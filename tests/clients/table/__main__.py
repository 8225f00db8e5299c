"""Writes the tables of docs/clients.md: `python -m tests.clients.table`."""

from tests.clients.table.clients import CLIENTS
from tests.clients.table.nightly import NIGHTLY
from tests.clients.table.page import PAGE, written

if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), (*CLIENTS, *NIGHTLY)), encoding="utf-8")
