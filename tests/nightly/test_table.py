"""Every client of `make clients` shows what the table says, through the service and directly at the simulated model.

They are the clients that take long to install. CI runs them every night. `tests/clients` has the table and the others.
"""

from collections.abc import Iterator

import pytest

from local.azurite import Azurite
from tests.clients.table.client import DIRECT, Client
from tests.clients.table.nightly import NIGHTLY
from tests.support.client_drivers import Table, check_cuts, check_directly, check_service, check_version, client_table

each_client = pytest.mark.parametrize("client", NIGHTLY, ids=lambda client: client.identifier)


@pytest.fixture(scope="module")
def table(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    """Run the servers for all clients."""
    with client_table(tmp_path_factory.mktemp("table"), (azurite.account(), azurite.account())) as table:
        yield table


@each_client
def test_a_client_has_the_major_version_of_the_page(table: Table, client: Client) -> None:
    """What the page says was seen with it."""
    check_version(table, client)


@pytest.mark.parametrize(
    ("client", "case"),
    [pytest.param(one, case, id=f"{one.identifier}-{case}") for one in NIGHTLY for case in one.shows],
)
def test_a_client_shows_this_through_the_service(table: Table, client: Client, case: str) -> None:
    """An answer is whole however long it takes, also for a client whose time-out is shorter. Each call is one work."""
    check_service(table, client, case)


@pytest.mark.parametrize(
    ("client", "case"), [pytest.param(one, case, id=f"{one.identifier}-{case}") for one in NIGHTLY for case in DIRECT]
)
def test_a_client_shows_this_without_the_service(table: Table, client: Client, case: str) -> None:
    """The rest is the client's own: what it makes of the same answer from the model."""
    check_directly(table, client, case)


@each_client
def test_a_stream_was_cut(table: Table, client: Client) -> None:
    """One connection was cut in the middle of its text, on each side."""
    check_cuts(table, client)
