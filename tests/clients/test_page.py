"""docs/clients.md says what the tests of the clients expect."""

import re

from local.environments.catalogue import ENVIRONMENTS
from local.stack.process import ROOT
from tests.clients.table.clients import CLIENTS
from tests.clients.table.nightly import NIGHTLY
from tests.clients.table.page import PAGE, written


def test_the_tables_of_the_page_are_current() -> None:
    """`python -m tests.clients.table` writes them."""
    text = PAGE.read_text(encoding="utf-8")
    assert written(text, (*CLIENTS, *NIGHTLY)) == text
    assert f"`make test` runs the clients down to {CLIENTS[-1].name}, and `make clients` the others." in text


def test_make_clients_installs_every_client_of_its_own() -> None:
    """The Makefile names the environment of each, and that of Codex, which has tests of its own."""
    lines = re.findall(r"^NIGHTLY [:+]= (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    environments = {f"nightly-{name}" for line in lines for name in line.split()}
    assert environments == {client.environment for client in NIGHTLY} | {"nightly-codex"}
    assert environments <= ENVIRONMENTS.keys()
