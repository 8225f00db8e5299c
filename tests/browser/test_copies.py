"""The request of a response of another program, as the console copies it: it asks for the same."""

import ast
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.console_page import LOOK_MS, SEEN_MS, ConsolePage, console_page
from tests.support.service_process import Service, create, finished

USER = {"role": "user", "content": [{"type": "input_text", "text": "Two."}], "type": "message"}
SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object", "enum": [None]}}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
FULL = {
    "instructions": "Be brief.",
    "text": {"format": SCHEMA},
    "temperature": 0.2,
    "top_p": 0.5,
    "reasoning": {"effort": "low"},
    "max_output_tokens": 99,
    "tools": [TOOL],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "truncation": "auto",
    "metadata": {"team": "blue"},
    "presence_penalty": 0.5,
}


@pytest.fixture(scope="module")
def console(browser: Any, running: Service) -> Iterator[ConsolePage]:
    """Return one tab for all tests of this module. It may use the clipboard."""
    with console_page(browser, running, permissions=["clipboard-read", "clipboard-write"]) as shown:
        yield shown.open()


def copied(console: ConsolePage, response_id: str, name: str = "curl") -> str:
    """Return what the page copies for a response."""
    console.page.evaluate("navigator.clipboard.writeText('')")
    console.show(response_id)
    console.page.locator(".whole-id", has_text=response_id).wait_for()
    console.page.get_by_role("button", name=f"Copy as {name}").click()
    for _ in range(SEEN_MS // LOOK_MS):
        if text := str(console.page.evaluate("navigator.clipboard.readText()")):
            return text
        console.page.wait_for_timeout(LOOK_MS)
    raise AssertionError("nothing was copied")


def request_in(command: str) -> Any:
    """Return the body in a command for curl."""
    return json.loads(command.partition("-d '")[2].removesuffix("'").replace("'\\''", "'"))


def made(running: Service, **fields: object) -> str:
    """Return the id of an ended response of another program."""
    client = running.client()
    return str(finished(client, create(client, "sim-instant", **fields))["id"])


def test_every_field_that_the_response_repeats_is_copied(console: ConsolePage, running: Service) -> None:
    """And none that the request did not name. Python's SDK gets a field that it has no name for in `extra_body`."""
    response_id = made(running, previous_response_id=(first := made(running)), **FULL)
    sent = {"model": "sim-instant", "input": "One. Two.", "background": True, "previous_response_id": first, **FULL}
    assert request_in(copied(console, response_id)) == sent
    written = arguments_in(copied(console, response_id, "Python"))
    assert written | written.pop("extra_body") == sent


def arguments_in(program: str) -> dict[str, Any]:
    """Return what a program for Python hands to the SDK."""
    calls = [one for one in ast.walk(ast.parse(program)) if isinstance(one, ast.Call)]
    [call] = [one for one in calls if ast.unparse(one.func) == "client.responses.create"]
    return {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}


def test_a_plain_request_stays_plain(console: ConsolePage, running: Service) -> None:
    """Nothing is added that could change what it does elsewhere."""
    assert request_in(copied(console, made(running))) == {
        "model": "sim-instant",
        "input": "One. Two.",
        "background": True,
    }


def test_a_request_in_the_foreground_stays_one(console: ConsolePage, running: Service) -> None:
    """It is answered when it has ended, and unstored ones stay unstored."""
    response = running.client().post("/responses", json={"model": "sim-instant", "input": "One.", "store": False})
    given = request_in(copied(console, response.json()["id"]))
    assert given == {"model": "sim-instant", "input": "One.", "background": False, "store": False}


@pytest.mark.parametrize(
    "items",
    [
        [{"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}], "type": "message"}],
        [USER, {"type": "item_reference", "id": "msg_of_another"}],
        [{**USER, "content": [{"type": "input_text", "text": str(n)}]} for n in range(205)],
    ],
    ids=["developer", "reference", "more than two pages"],
)
def test_input_items_are_copied_as_they_are(
    console: ConsolePage, running: Service, items: list[dict[str, Any]]
) -> None:
    """With their roles, with the ids that name others, and all of them."""
    assert request_in(copied(console, made(running, input=items)))["input"] == items
