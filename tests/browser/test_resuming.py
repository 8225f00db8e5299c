"""Streams in the console: a connection that is dropped, a page that is reloaded, and more streams than connections."""

import re
from typing import Any

from tests.support.console_page import ConsolePage
from tests.support.service_process import Service, create, finished, output_text


def stored_text(running: Service, response_id: str) -> str:
    """Return the text of a response when it has ended."""
    return output_text(finished(running.client(), {"id": response_id, "continuation_token": None}, 60))


def resumed_after(console: ConsolePage) -> list[int]:
    """Return the numbers that the page has sent as `starting_after`."""
    return [int(found[1]) for url in console.requested if (found := re.search(r"starting_after=(\d+)", url))]


def test_a_dropped_connection_is_resumed_with_the_same_text(console: ConsolePage, running: Service) -> None:
    """While it is dropped, nothing is added. Then the stream goes on behind the last event, and the text is whole."""
    response_id = console.send("sim-6s")
    console.wait_for_text(40)
    drop = console.page.get_by_role("switch", name="Drop my connection")
    drop.click()
    console.wait_for_phase("disconnected by you")
    before = console.text()
    last = re.search(r"after event (\d+)", console.story())
    console.page.wait_for_timeout(1_500)  # the work goes on meanwhile
    assert (console.text(), drop.get_attribute("aria-checked")) == (before, "true")
    drop.click()
    assert console.wait_for_text(len(before) + 1).startswith(before)
    console.wait_for_phase("completed")
    assert last
    assert resumed_after(console) == [int(last[1])]
    assert f"Resumed after event {last[1]}" in console.story()
    assert console.text() == stored_text(running, response_id)
    assert "are the same" in console.verdict()


def test_a_connection_that_stays_dropped_to_the_end_is_resumed_then(console: ConsolePage, running: Service) -> None:
    """What was missed is in the log of events."""
    response_id = console.send("sim-2s")
    console.wait_for_text(10)
    drop = console.page.get_by_role("switch", name="Drop my connection")
    drop.click()
    stored = stored_text(running, response_id)
    assert console.text() != stored
    drop.click()
    console.wait_for_phase("completed")
    assert console.text() == stored
    assert "are the same" in console.verdict()


def test_a_reload_resumes_behind_the_last_event(console: ConsolePage, running: Service) -> None:
    """The text is there at once, and it is whole at the end. The timeline keeps what this tab has seen."""
    response_id = console.send("sim-6s")
    before = console.wait_for_text(60)
    console.page.reload()
    assert console.wait_for_text(len(before)).startswith(before)
    console.page.locator("#timeline").get_by_text("Resumed after event").wait_for()
    console.wait_for_phase("completed")
    assert len(resumed_after(console)) == 1
    assert console.text() == stored_text(running, response_id)
    assert "are the same" in console.verdict()


def test_a_reload_resumes_every_open_stream(console: ConsolePage, running: Service) -> None:
    """Also those that are not looked at. More streams than connections take turns, and none loses a word."""
    ids = [console.send("sim-8s") for _ in range(5)]
    console.wait_for_text(10)
    console.page.reload()
    console.page.get_by_text("5 open streams resumed").first.wait_for()
    for response_id in ids:
        console.show(response_id)
        console.page.get_by_text(response_id).wait_for()
        console.wait_for_phase("completed")
        assert console.text() == stored_text(running, response_id)
        assert "are the same" in console.verdict()


def test_a_dropped_connection_stays_usable_for_the_rest_of_the_page(console: ConsolePage) -> None:
    """The list goes on, and another response is sent meanwhile."""
    console.send("sim-60s")
    console.wait_for_text(1)
    console.page.get_by_role("switch", name="Drop my connection").click()
    console.send("sim-instant")
    console.wait_for_phase("completed")


def test_a_stream_of_another_program_is_followed_on_demand(console: ConsolePage, running: Service) -> None:
    """From its first event."""
    with running.client().stream(
        "POST",
        "/responses",
        json={"model": "sim-6s", "input": "One. Two. Three.", "background": True, "stream": True},
    ) as answer:
        named = next(found for line in answer.iter_lines() if (found := re.search(r"resp_[0-9a-f]{32}", line)))
    console.show(named[0])
    console.page.get_by_role("button", name="Follow its stream").click()
    console.wait_for_text(10)
    console.wait_for_phase("completed")
    assert console.text() == stored_text(running, named[0])


def test_a_response_that_has_no_stream_says_so(console: ConsolePage, running: Service) -> None:
    """As long as it is looked at, and what cannot be had is not offered again."""
    page, client = console.page, running.client()
    made = create(client, "sim-60s")
    console.show(made["id"])
    page.get_by_role("button", name="Follow its stream").click()
    refusal = page.locator("#detail > .error", has_text="stream")
    refusal.wait_for()
    said = refusal.inner_text()
    for _ in range(2):
        with page.expect_response(f"**/responses/{made['id']}"):
            pass
    console.wait_for_phase("in progress")
    assert refusal.inner_text() == said
    assert page.get_by_role("button", name="Follow its stream").count() == 0
    client.post(f"/responses/{made['id']}/cancel").raise_for_status()
    console.wait_for_phase("cancelled")
    assert refusal.count() == 0
    assert ["400" in text for text in console.errors] == [True]
    console.errors.clear()


def test_a_stream_that_is_dropped_and_resumed_at_once_has_one_reader(console: ConsolePage, running: Service) -> None:
    """However often. Each time it is asked for once, and the reader before never reads on or asks again."""
    response_id = console.send("sim-6s")
    console.wait_for_text(20)
    for _ in range(4):
        console.page.evaluate("() => { const drop = document.querySelector('#drop'); drop.click(); drop.click(); }")
        console.page.wait_for_timeout(300)
    console.wait_for_phase("completed")
    assert len(resumed_after(console)) == 4
    assert "broke" not in console.story()
    assert console.text() == stored_text(running, response_id)
    assert "are the same" in console.verdict()


def test_signing_out_empties_the_store_while_a_connection_is_broken(console: ConsolePage, running: Service) -> None:
    """The page then asks whether the response has ended. The answer comes too late, and is dropped."""
    response_id = console.send("sim-2s")
    console.wait_for_text(10)
    drop = console.page.get_by_role("switch", name="Drop my connection")
    drop.click()
    stored_text(running, response_id)
    console.page.locator(f"#rows a[href$='{response_id}']").get_by_text("Completed").wait_for()
    held: list[Any] = []
    console.page.route(f"**/responses/{response_id}", lambda route: held.append(route))  # noqa: PLW0108 - a method of a list takes no marks
    frame = {"content_type": "text/event-stream", "body": ": \n\n"}
    console.page.route("**/*stream=true*", lambda route: route.fulfill(**frame), times=1)
    with console.page.expect_request(f"**/responses/{response_id}"):
        drop.click()
    console.page.get_by_role("button", name="Sign out").click()
    console.page.get_by_label("API key").wait_for()
    with console.page.expect_response(f"**/responses/{response_id}"):
        for route in held:
            route.continue_()
    console.page.wait_for_timeout(300)  # the page takes the answer
    assert console.page.evaluate("Object.keys(sessionStorage)") == []
