"""Signing out in the console: what a caller has typed and seen is gone for the next one in the same tab."""

import re
from typing import Any

from tests.support.console_page import ConsolePage
from tests.support.service_process import Service, create, finished

LIST = re.compile(r"/openai/v1/responses\?")
UNKNOWN = {"error": {"message": "Unknown key.", "type": "invalid_request_error", "code": "unknown_key", "param": None}}


def fill(console: ConsolePage) -> None:
    """Fill in the form of a new response, and the filter of the list, and send nothing."""
    page = console.page
    page.get_by_label("Model").first.fill("filtered")
    page.locator("#model").fill("sim-1s")
    page.locator("#text").fill("Not for others.")
    page.locator("#callback").fill("https://example.com/private")
    page.locator("#file").set_input_files(
        {"name": "dot.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n\0"}
    )
    page.get_by_text("dot.png, 9 bytes").wait_for()


def typed(console: ConsolePage) -> list[str]:
    """Return what the form and the filter have."""
    fields = [*(console.page.locator(f"#{name}").input_value() for name in ("model", "text", "callback"))]
    files = console.page.get_by_role("list", name="Files").locator("li").count()
    return [one for one in (*fields, console.page.locator("#filter-model").input_value(), "file" * files) if one]


def sign_out(console: ConsolePage) -> None:
    """Sign out, and return when a key is asked for."""
    console.page.get_by_role("button", name="Sign out").click()
    console.page.get_by_label("API key").wait_for()


def sign_in(console: ConsolePage, running: Service, caller: str) -> None:
    """Sign in without loading the page again."""
    console.sign_in(running.callers[caller].api_key)
    console.page.get_by_role("heading", name="New response").wait_for()


def turn_away(console: ConsolePage) -> None:
    """Let the service refuse the key once, as if it had been changed, and wait until the page asks for one."""
    console.page.route(LIST, lambda route: route.fulfill(status=401, json=UNKNOWN), times=1)
    console.page.get_by_text("The service does not know this key.").wait_for()
    assert all("401" in said for said in console.errors)
    console.errors.clear()


def test_what_was_typed_is_gone(console: ConsolePage, running: Service) -> None:
    """The text, the file, the addresses and the filter. Nothing of it is sent with the next caller's request."""
    fill(console)
    assert len(typed(console)) == 5
    sign_out(console)
    sign_in(console, running, "second")
    assert typed(console) == []
    response_id = console.send("sim-instant", "Mine.")
    [item] = running.client("second").get(f"/responses/{response_id}/input_items").json()["data"]
    assert [part["type"] for part in item["content"]] == ["input_text"]


def test_what_was_typed_stays_for_the_same_caller_alone_if_a_key_ends(console: ConsolePage, running: Service) -> None:
    """Whoever enters the new key of the same caller goes on. Another caller begins anew."""
    fill(console)
    turn_away(console)
    sign_in(console, running, "first")
    assert len(typed(console)) == 5
    turn_away(console)
    sign_in(console, running, "second")
    assert typed(console) == []


def test_what_was_read_is_gone(console: ConsolePage, running: Service) -> None:
    """The answer, the list, the caller's name, and what an operator has seen: also from what the page hides."""
    made = finished(running.client(), create(running.client(), "sim-instant"))
    console.page.get_by_role("link", name="Service").click()
    console.page.get_by_text("All callers, as of").wait_for()
    console.show(made["id"])
    console.wait_for_phase("completed")
    sign_out(console)
    hidden = {name: console.page.locator(f"#{name}").text_content() for name in ("detail", "rows", "who", "service")}
    assert hidden == dict.fromkeys(hidden, "")


def test_a_list_that_comes_too_late_is_dropped(console: ConsolePage, running: Service) -> None:
    """It was asked for before the caller signed out. The next one never sees its rows."""
    page = console.page
    made = create(running.client(), "sim-instant")
    late = running.client().get("/responses").json()
    assert made["id"] in {item["id"] for item in late["data"]}
    held: list[Any] = []
    page.route(LIST, lambda route: held.append(route), times=1)  # noqa: PLW0108 - a method of a list takes no marks
    with page.expect_request(LIST):
        pass
    sign_out(console)
    [route] = held
    route.fulfill(json=late)
    page.wait_for_timeout(300)  # a page that takes the answer has done so
    assert page.locator("#rows li").count() == 0
    sign_in(console, running, "second")
    page.locator("#list-state", has_text=re.compile("None yet|response")).wait_for()
    assert page.locator(f"#rows a[href$='{made['id']}']").count() == 0
