"""The console as people use it: sending, watching, cancelling, redelivering, and what is said when that fails."""

import json
import os
import re
from typing import Any

import pytest

from local.stack.process import wait_for
from tests.support.console_page import ConsolePage, console_page
from tests.support.service_process import Service, create, finished, output_text

HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>'


def test_a_response_is_sent_and_shown_live(console: ConsolePage, running: Service) -> None:
    """Its text grows while it is written. At the end it is what the service has stored, and the callback was taken."""
    response_id = console.send("sim-3s", callback=f"{running.receiver.url}/callback")
    early = console.wait_for_text(20)
    console.wait_for_phase("writing")
    assert re.search(r"\d+ events", console.page.locator("#events").inner_text())
    assert "about" in console.page.locator("#tokens").inner_text()
    console.wait_for_phase("completed")
    stored = output_text(finished(running.client(), {"id": response_id, "continuation_token": None}))
    assert (console.text(), len(early) < len(stored)) == (stored, True)
    assert "are the same" in console.verdict()
    console.page.get_by_text("accepted with 204").first.wait_for()
    assert [word for word in ("Accepted.", "Completed", "Callback") if word not in console.story()] == []


def test_the_list_is_live(console: ConsolePage, running: Service) -> None:
    """A response of another program appears, and its end, without a click. Filters choose by status and model."""
    made = create(running.client(), "sim-2s", metadata={"a": HOSTILE})
    row = console.page.locator(f"#rows a[href$='{made['id']}']")
    row.wait_for()
    row.get_by_text("Completed").wait_for()
    assert re.search(r"\d+ tokens", row.inner_text())
    other = create(running.client(), "sim-instant")
    gone = console.page.locator(f"#rows a[href$='{other['id']}']")
    gone.get_by_text("Completed").wait_for()
    running.client().delete(f"/responses/{other['id']}").raise_for_status()
    gone.wait_for(state="detached")
    create(running.client(), "sim-fail-0.1s")
    console.page.get_by_label("Status").select_option("failed")
    console.page.locator("#rows").get_by_text("Failed").first.wait_for()
    row.wait_for(state="detached")
    console.page.get_by_label("Status").select_option("")
    console.page.get_by_label("Model").first.fill("sim-2s")
    row.wait_for()
    assert {*console.page.locator(".row-model").all_inner_texts()} == {"sim-2s"}


def test_a_response_is_cancelled_after_a_question(console: ConsolePage, running: Service) -> None:
    """The first click asks, and the second one cancels."""
    response_id = console.send("sim-60s")
    console.wait_for_text(1)
    console.page.get_by_role("button", name="Cancel", exact=True).click()
    assert running.client().get(f"/responses/{response_id}").json()["status"] == "in_progress"
    console.page.get_by_role("button", name="Cancel it?").click()
    console.wait_for_phase("cancelled")
    assert running.client().get(f"/responses/{response_id}").json()["status"] == "cancelled"


def test_a_response_is_deleted_after_a_question(console: ConsolePage, running: Service) -> None:
    """It leaves the list, and the form for a new one is shown."""
    response_id = console.send("sim-instant")
    console.wait_for_phase("completed")
    console.page.get_by_role("button", name="Delete", exact=True).click()
    console.page.get_by_role("button", name="Delete it?").click()
    console.page.get_by_role("heading", name="New response").wait_for()
    assert wait_for(lambda: running.client().get(f"/responses/{response_id}").status_code == 404, 5)
    assert console.page.locator(f"#rows a[href$='{response_id}']").count() == 0


def test_a_failed_response_says_why(console: ConsolePage) -> None:
    """In words, with the code, and the timeline has the end."""
    console.send("sim-fail-1s")
    console.wait_for_phase("failed")
    alert = console.page.get_by_role("alert").filter(has_text="[")
    alert.first.wait_for()
    assert re.fullmatch(r".+ \[\w+\]", alert.first.inner_text())
    assert "Failed" in console.story()


def test_a_delivery_is_sent_again(console: ConsolePage, running: Service) -> None:
    """A receiver that refuses for good is shown with its answer. After a click it gets the same event again."""
    running.receiver.faults(fail=1, status=410)
    response_id = console.send("sim-instant", callback=f"{running.receiver.url}/callback")
    console.page.get_by_text("refused with 410").first.wait_for()
    console.page.get_by_text("Gone", exact=True).wait_for()
    console.page.get_by_role("button", name="Redeliver: Callback").click()
    console.page.get_by_text("Delivered", exact=True).wait_for()
    console.page.get_by_text("Attempt 1, schedule 2").wait_for()
    sent = running.receiver.of(response_id)
    assert (len(sent), len({one["webhook_id"] for one in sent})) == (2, 1)


def test_a_wrong_key_is_said_in_words(browser: Any, running: Service) -> None:
    """It is not kept, and the right one works after it."""
    with console_page(browser, running) as shown:
        shown.page.goto(shown.url)
        shown.sign_in("br_wrong")
        shown.page.get_by_text("The service does not know this key.").wait_for()
        assert shown.page.evaluate("sessionStorage.length") == 0
        [said] = shown.errors  # the browser's own word about the 401, which no page can keep back
        assert "401" in said
        shown.errors.clear()
        shown.open()


def test_a_refused_request_is_said_in_words(console: ConsolePage) -> None:
    """The field that is wrong is named, and what was typed stays."""
    page = console.page
    page.get_by_role("button", name="Send").click()
    page.get_by_text("Name a model.").wait_for()
    page.locator("#model").fill("sim-1s")
    page.locator("#text").fill("One.")
    page.locator("#callback").fill("http://example.com/hook")
    page.get_by_role("button", name="Send").click()
    page.get_by_text(re.compile("callback_url: .*callback_url_scheme")).wait_for()
    assert page.locator("#text").input_value() == "One."
    assert ["400" in said for said in console.errors] == [True]
    console.errors.clear()


def test_the_key_is_in_no_address_and_ends_with_the_session(console: ConsolePage, running: Service) -> None:
    """It is in the tab's own store alone. Signing out empties that. Nothing was asked of another host."""
    key = running.callers["first"].api_key
    console.send("sim-instant")
    console.wait_for_phase("completed")
    assert console.page.evaluate("[sessionStorage.getItem('console.key'), localStorage.length, document.cookie]") == [
        *(key, 0, "")
    ]
    console.page.get_by_role("button", name="Sign out").click()
    console.page.get_by_label("API key").wait_for()
    assert console.page.evaluate("sessionStorage.length") == 0
    assert [url for url in console.requested if key in url] == []
    assert {url.partition("/openai")[0].partition("/console")[0] for url in console.requested} == {running.hosts[0].url}


def test_the_text_of_a_model_stays_text(console: ConsolePage) -> None:
    """Nothing of it becomes an element, and nothing of it runs. The policy forbids a script to make it so."""
    console.send("sim-2s", f"{HOSTILE} is what a hostile answer has.")
    console.wait_for_phase("completed")
    assert HOSTILE in console.text()
    assert console.page.locator("#detail img, #detail script").count() == 0
    assert console.page.title() == "Background Responses"
    broken = "try { document.body.innerHTML = '<b>x</b>'; 'made' } catch (error) { error.name }"
    assert console.page.evaluate(broken) == "TypeError"
    assert all("TrustedHTML" in said for said in console.errors)
    console.errors.clear()


def test_a_file_is_sent(console: ConsolePage, running: Service) -> None:
    """The text of a text file is put into the field, where it can be changed. Other files are sent beside the text."""
    page = console.page
    files = [
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"From a file."},
        {"name": "dot.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n\0\0"},
    ]
    page.locator("#file").set_input_files(files)
    page.get_by_text("dot.png, 10 bytes").wait_for()
    assert page.locator("#text").input_value() == "From a file."
    page.locator("#model").fill("sim-instant")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url(re.compile("#/responses/resp_"))
    [item] = running.client().get(f"/responses/{page.url.rpartition('/')[2]}/input_items").json()["data"]
    assert [part["type"] for part in item["content"]] == ["input_text", "input_image"]


def test_the_files_that_are_said_to_fit_are_taken(console: ConsolePage) -> None:
    """Also if nothing in them can be compressed. A byte more is refused before it is sent, with the limit."""
    page = console.page
    [limit] = re.findall(r"up to (\d\.\d) MB in all", page.locator("label[for=file]").inner_text())
    noise = b"\xff" + os.urandom(int(float(limit) * 1_000_000) - 1)  # no text, because UTF-8 has no such byte
    page.locator("#file").set_input_files({"name": "most.bin", "mimeType": "x/y", "buffer": noise})
    page.get_by_text(f"most.bin, {limit} MB").wait_for()
    page.locator("#file").set_input_files({"name": "more.bin", "mimeType": "x/y", "buffer": b"\xff"})
    page.get_by_text(f"more.bin has 1 bytes, and {limit} MB fit in all.").wait_for()
    page.locator("#model").fill("sim-instant")
    page.locator("#text").fill("What is this?")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url(re.compile("#/responses/resp_"))


def test_signing_out_ends_a_request_that_waits_for_its_answer(console: ConsolePage) -> None:
    """So nothing of it is written into the tab's store, which signing out has emptied."""
    page = console.page
    page.locator("#model").fill("sim-2s")
    page.locator("#text").fill("One.")
    for box in ("background", "stream"):
        page.locator(f"#{box}").uncheck()
    with page.expect_request("**/openai/v1/responses"):
        page.get_by_role("button", name="Send").click()
    with page.expect_event("requestfailed", lambda one: one.url.endswith("/openai/v1/responses")):
        page.get_by_role("button", name="Sign out").click()
    page.get_by_label("API key").wait_for()
    assert page.evaluate("Object.keys(sessionStorage)") == []


def lose_the_answer(console: ConsolePage) -> None:
    """Send a request that the service takes, and break the connection before its answer arrives."""

    def lose(route: Any) -> None:
        route.fetch()
        route.abort()

    console.page.locator("#text").fill("One.")
    console.page.route("**/openai/v1/responses", lose, times=1)
    console.page.get_by_role("button", name="Send").click()
    console.page.get_by_text("The service cannot be reached. Send it again.").wait_for()


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_that_is_sent_again_after_a_break_begins_nothing(
    console: ConsolePage, running: Service, *, stream: bool
) -> None:
    """The service took it, and the answer was lost. The second try gets the same response, a new request another."""
    page, model = console.page, f"sim-1.{int(stream)}s"

    def made() -> set[str]:
        return {item["id"] for item in running.client().get("/responses", params={"model": model}).json()["data"]}

    page.locator("#model").fill(model)
    page.locator("#stream").set_checked(stream)
    lose_the_answer(console)
    lost = made()
    page.get_by_role("button", name="Send").click()
    page.wait_for_url(re.compile("#/responses/resp_"))
    assert made() == lost == {page.url.rpartition("/")[2]}
    console.wait_for_phase("completed")
    assert console.send(model, "One.", stream=stream) not in lost
    assert all("net::ERR" in said for said in console.errors)
    console.errors.clear()


def test_another_request_after_a_break_is_a_new_response(console: ConsolePage, running: Service) -> None:
    """What was typed has changed, so the key of the lost one would be refused."""
    page, client, model = console.page, running.client(), "sim-0.3s"
    page.locator("#model").fill(model)
    lose_the_answer(console)
    page.locator("#text").fill("Two.")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url(re.compile("#/responses/resp_"))
    assert len(client.get("/responses", params={"model": model}).json()["data"]) == 2
    assert all("net::ERR" in said for said in console.errors)
    console.errors.clear()


def test_a_request_that_was_refused_may_be_sent_as_a_new_one(console: ConsolePage, running: Service) -> None:
    """As when the answer was lost, and the response was deleted. The page says so, and the next try begins another."""
    page, client, model = console.page, running.client(), "sim-0.2s"
    page.locator("#model").fill(model)
    lose_the_answer(console)
    [lost] = client.get("/responses", params={"model": model}).json()["data"]
    client.delete(f"/responses/{lost['id']}").raise_for_status()
    page.get_by_role("button", name="Send").click()
    page.get_by_text("The response of this Idempotency-Key was deleted.").wait_for()
    page.get_by_role("button", name="Send").click()
    page.wait_for_url(re.compile("#/responses/resp_"))
    assert [("net::ERR" in said or "400" in said) for said in console.errors] == [True, True]
    console.errors.clear()


@pytest.mark.parametrize(("background", "stream"), [(True, False), (False, False), (False, True)])
def test_other_ways_to_be_answered(console: ConsolePage, *, background: bool, stream: bool) -> None:
    """Polled in the background, as a whole in the foreground, and as a stream in the foreground."""
    console.send("sim-2s", background=background, stream=stream)
    console.wait_for_phase("completed")
    assert "simulated" in console.wait_for_text(20)


def test_a_request_is_copied_as_programs(browser: Any, running: Service) -> None:
    """For curl and for Python. The key is not in them."""
    with console_page(browser, running, permissions=["clipboard-read", "clipboard-write"]) as shown:
        shown.open().send("sim-instant", 'It\'s "quoted".\nTwice.', callback=f"{running.receiver.url}/callback")
        shown.wait_for_phase("completed")
        copied = {}
        for name in ("curl", "Python"):
            shown.page.get_by_role("button", name=f"Copy as {name}").click()
            shown.page.get_by_text(f"The request for {name} copied").first.wait_for()
            copied[name] = shown.page.evaluate("navigator.clipboard.readText()")
    given = json.loads(copied["curl"].partition("-d '")[2].removesuffix("'").replace("'\\''", "'"))
    assert (given["input"], given["stream"]) == ('It\'s "quoted".\nTwice.', True)
    compile(copied["Python"], "copied", "exec")
    assert "extra_body=" in copied["Python"]
    assert all(running.callers["first"].api_key not in text for text in copied.values())
