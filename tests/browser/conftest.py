"""The browser, the service behind the page, and a tab."""

from collections.abc import Iterator
from typing import Any

import pytest

from local.azurite import Azurite
from tests.support import browsers
from tests.support.console_page import ConsolePage, console_page
from tests.support.service_process import Service, service


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Run one browser for the tests of a module. It ends with them, because its loop would be in the way of others."""
    with browsers.browser() as running:
        yield running


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with the console. The caller `first` is an operator, and the caller `second` is none."""
    browsers.chromium()
    place, callers = tmp_path_factory.mktemp("console"), ("first", "second")
    with service(place, azurite.account(), callers=callers, operators=["first"], CONSOLE="true") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture
def console(browser: Any, running: Service) -> Iterator[ConsolePage]:
    """Return a tab with the console, signed in."""
    with console_page(browser, running) as shown:
        yield shown.open()
