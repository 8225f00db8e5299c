"""The console while the service is away: it asks again, and nothing of what it has is lost."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from local.azurite import Azurite
from tests.browser.test_resuming import stored_text
from tests.support import browsers
from tests.support.console_page import ConsolePage, console_page
from tests.support.service_process import Service, service

CONTINUED_MS = 90_000  # the lease of the killed host, and then the rest of the work


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that may be killed."""
    browsers.chromium()
    with service(tmp_path_factory.mktemp("away"), azurite.account(), time_factor=1, CONSOLE="true") as running:
        yield running


def said_of_the_network(console: ConsolePage) -> bool:
    """Return whether the browser has reported calls that the service did not answer, and nothing else. Forget them."""
    said, console.errors[:] = list(console.errors), []
    return bool(said) and all("net::ERR" in text or "404" in text for text in said)


def test_a_host_that_is_killed_costs_no_word(browser: Any, running: Service) -> None:
    """The page says that it reconnects. When the host is back, the text goes on, and it is whole."""
    with console_page(browser, running) as shown:
        response_id = shown.open().send("sim-12s")
        before = shown.wait_for_text(40)
        running.hosts[0].kill()
        shown.wait_for_phase("reconnecting")
        shown.page.get_by_text("The service cannot be reached. Trying again.").first.wait_for()
        assert shown.text().startswith(before)
        running.hosts[0].start()
        shown.page.locator("#phase", has_text="Completed").wait_for(timeout=CONTINUED_MS)
        assert shown.text() == stored_text(running, response_id)
        assert "are the same" in shown.verdict()
        assert said_of_the_network(shown)


def test_an_answer_of_something_else_is_no_refusal(browser: Any, running: Service) -> None:
    """The platform answers an empty 404 for a host that has not loaded the app. The stream is asked for again."""
    with console_page(browser, running) as shown:
        response_id = shown.open().send("sim-6s")
        shown.wait_for_text(40)
        drop = shown.page.get_by_role("switch", name="Drop my connection")
        drop.click()
        shown.page.route("**/*stream=true*", lambda route: route.fulfill(status=404, body=""), times=2)
        drop.click()
        shown.wait_for_phase("completed")
        assert shown.text() == stored_text(running, response_id)
        assert "are the same" in shown.verdict()
        assert [text for text in shown.errors if "404" not in text] == []
        shown.errors.clear()


def test_a_reload_meanwhile_keeps_the_key_and_the_streams(browser: Any, running: Service) -> None:
    """Only a service that refuses the key ends the session."""
    with console_page(browser, running) as shown:
        response_id = shown.open().send("sim-8s")
        shown.wait_for_text(40)
        shown.page.route("**/console/caller", lambda route: route.abort(), times=1)
        shown.page.reload()
        shown.page.get_by_text("The service cannot be reached. Trying again.").first.wait_for()
        shown.wait_for_phase("completed")
        assert shown.text() == stored_text(running, response_id)
        assert "are the same" in shown.verdict()
        assert said_of_the_network(shown)


def test_a_network_that_is_back_ends_the_wait(browser: Any, running: Service) -> None:
    """After four tries in vain a stream waits for 4 s. It is asked for at once when the browser is online."""
    with console_page(browser, running) as shown:
        shown.open().send("sim-12s")
        shown.wait_for_text(10)
        drop = shown.page.get_by_role("switch", name="Drop my connection")
        drop.click()
        shown.wait_for_phase("disconnected by you")
        shown.page.context.set_offline(True)
        tries = count(1)
        with shown.page.expect_request(lambda one: "stream=true" in one.url and next(tries) == 4):
            drop.click()
        shown.page.wait_for_timeout(300)  # the fourth one fails
        with shown.page.expect_request("**/*stream=true*", timeout=2_500):
            shown.page.context.set_offline(False)
        shown.wait_for_phase("completed")
        assert said_of_the_network(shown)
