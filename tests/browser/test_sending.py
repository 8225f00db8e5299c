"""A new response in the console: files that are not what they seem, and leaving while its answer is awaited."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.console_page import ConsolePage
from tests.support.service_process import Service, create

SENT = "**/openai/v1/responses"


def wait_for_an_answer(console: ConsolePage, *, stream: bool = False) -> list[Any]:
    """Send a request in the foreground. Return it, held up on its way to the service."""
    page = console.page
    held: list[Any] = []
    page.route(SENT, lambda route: held.append(route))  # noqa: PLW0108 - a method of a list takes no marks
    page.locator("#model").fill("sim-instant")
    page.locator("#text").fill("One.")
    page.locator("#background").uncheck()
    page.locator("#stream").set_checked(stream)
    with page.expect_request(SENT):
        page.get_by_role("button", name="Send").click()
    return held


def leave(console: ConsolePage, running: Service, place: str) -> str:
    """Go to another response, or to the view of operators, and return the address."""
    if place == "service":
        console.page.get_by_role("link", name="Service").click()
        console.page.get_by_text("All callers, as of").wait_for()
    else:
        console.show(create(running.client(), "sim-instant")["id"])
        console.wait_for_phase("completed")
    return str(console.page.url)


@pytest.mark.parametrize(
    ("place", "stream", "said"),
    [("response", False, "has ended"), ("response", True, "has begun"), ("service", False, "has ended")],
)
def test_an_answer_takes_nobody_away(
    console: ConsolePage, running: Service, place: str, *, stream: bool, said: str
) -> None:
    """Whoever reads something else by then goes on reading. A note says that the answer is there."""
    held = wait_for_an_answer(console, stream=stream)
    address = leave(console, running, place)
    for route in held:
        route.continue_()
    console.page.get_by_text(f"Your response {said}. It is in the list.").first.wait_for()
    assert console.page.url == address


def test_a_refusal_is_said_to_whoever_has_left_the_form(console: ConsolePage, running: Service) -> None:
    """And it stands at the form, with what was typed."""
    held = wait_for_an_answer(console)
    address = leave(console, running, "response")
    for route in held:
        route.fulfill(status=400, json={"error": {"message": "Not so.", "code": "odd", "param": "model"}})
    console.page.get_by_text("New response: model: Not so. [odd]").first.wait_for()
    assert console.page.url == address
    console.page.get_by_role("link", name="New response").click()
    console.page.get_by_text("model: Not so. [odd]", exact=True).wait_for()
    assert console.page.locator("#text").input_value() == "One."
    assert ["400" in text for text in console.errors] == [True]
    console.errors.clear()


def test_a_file_that_cannot_be_read_is_named(console: ConsolePage, tmp_path: Path) -> None:
    """A folder, or a file that has gone. The files beside it are taken, and the next good one takes the words away."""
    page, gone = console.page, tmp_path / "gone.txt"
    gone.write_text("Once.", encoding="utf-8")
    page.evaluate("document.body.append(Object.assign(document.createElement('input'), {type: 'file', id: 'other'}))")
    page.locator("#other").set_input_files(gone)
    gone.unlink()
    page.evaluate(
        "() => { const files = [...document.querySelector('#other').files, new File(['Here.'], 'here.txt')];"
        " const dropped = Object.assign(new Event('drop'), {dataTransfer: {types: ['Files'], files}});"
        " document.querySelector('#compose').dispatchEvent(dropped); }"
    )
    page.get_by_text("gone.txt cannot be read.").wait_for()
    assert page.locator("#text").input_value() == "Here."
    page.locator("#file").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"There."})
    page.get_by_text("gone.txt cannot be read.").wait_for(state="detached")
    assert page.locator("#text").input_value() == "Here.\n\nThere."


def test_a_text_in_another_encoding_is_sent_as_it_is(console: ConsolePage, running: Service) -> None:
    """It has nothing but ASCII for many bytes, and then an e with an accent in Latin-1. No character is replaced."""
    page, latin = console.page, b"x" * 10_000 + "café".encode("latin-1")
    page.locator("#file").set_input_files({"name": "latin.txt", "mimeType": "text/plain", "buffer": latin})
    page.get_by_text("latin.txt, 10 kB").wait_for()
    assert page.locator("#text").input_value() == ""
    page.locator("#model").fill("sim-instant")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url(re.compile("#/responses/resp_"))
    [item] = running.client().get(f"/responses/{page.url.rpartition('/')[2]}/input_items").json()["data"]
    assert [(part["type"], part["filename"]) for part in item["content"]] == [("input_file", "latin.txt")]
