"""The console for everybody: by keyboard, on a phone, in light and dark, with much to show, and for operators."""

import re
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.console_page import ConsolePage, console_page
from tests.support.environments import need
from tests.support.service_process import TERMINAL, Service, create

PHONE = {"width": 390, "height": 844}
RULES = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']}"
SERIOUS = ("serious", "critical")
MOST_STALL_S = 2.0  # the longest time in which a page under load draws nothing. A machine under load adds to it


@pytest.fixture(scope="module")
def axe() -> str:
    """Return the program that checks a page for people with disabilities."""
    return (Path(need("axe")) / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(console: ConsolePage, axe: str) -> list[str]:
    """Return the serious violations of the view that is shown, each with the elements that have it."""
    console.page.wait_for_timeout(300)  # the colours of a transition are none that anybody reads
    console.page.evaluate(axe)
    found = console.page.evaluate(f"axe.run({RULES})")["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in SERIOUS]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_a_serious_violation(browser: Any, running: Service, axe: str, scheme: str) -> None:
    """Signing in, the form, a stream at work, a dropped one, an ended, a failed one, and the view of operators."""
    with console_page(browser, running, color_scheme=scheme) as shown:
        shown.page.goto(shown.url)
        found = {"sign-in": violations(shown, axe)}
        shown.sign_in(running.callers["first"].api_key)
        shown.page.get_by_role("heading", name="New response").wait_for()
        found["form"] = violations(shown, axe)
        shown.send("sim-5s", callback=f"{running.receiver.url}/callback")
        shown.wait_for_text(10)
        found["writing"] = violations(shown, axe)
        shown.page.get_by_role("switch").click()
        found["dropped"] = violations(shown, axe)
        shown.page.get_by_role("switch").click()
        shown.wait_for_phase("completed")
        shown.page.get_by_text("accepted with 204").first.wait_for()
        found["completed"] = violations(shown, axe)
        shown.send("sim-fail-0.1s")
        shown.wait_for_phase("failed")
        found["failed"] = violations(shown, axe)
        shown.page.get_by_role("link", name="Service").click()
        shown.page.get_by_text("All callers, as of").wait_for()
        found["service"] = violations(shown, axe)
    assert found == {view: [] for view in found}


def test_a_phone_shows_one_thing_at_a_time(browser: Any, running: Service, axe: str) -> None:
    """The list, and then a response with a way back. Nothing is wider than the screen."""
    with console_page(browser, running, is_mobile=True, has_touch=True) as shown:
        shown.page.set_viewport_size(PHONE)
        made = create(running.client(), "sim-instant")
        shown.open()
        shown.page.locator(f"#rows a[href$='{made['id']}']").tap()
        shown.wait_for_phase("completed")
        assert not shown.page.locator("#list").is_visible()
        assert violations(shown, axe) == []
        assert shown.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        shown.page.get_by_role("link", name="All responses").tap()
        shown.page.locator("#rows").wait_for()
        assert not shown.page.locator("#detail").is_visible()
        assert shown.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_everything_works_by_keyboard(browser: Any, running: Service) -> None:
    """From the key to a dropped connection. The focus is always seen."""
    with console_page(browser, running) as shown:
        shown.page.goto(shown.url)
        press, keys = shown.page.keyboard.press, shown.page.keyboard
        shown.page.get_by_label("API key").wait_for()
        keys.type(running.callers["first"].api_key)
        press("Enter")
        shown.page.get_by_role("link", name="New response").focus()
        press("Enter")
        shown.page.locator("#model").focus()
        keys.type("sim-20s")
        press("Tab")
        keys.type("One. Two. Three.")
        for _ in range(5):
            press("Tab")
        assert shown.page.evaluate("document.activeElement.textContent") == "Send"
        press("Enter")
        drop = shown.page.get_by_role("switch", name="Drop my connection")
        drop.wait_for()
        drop.focus()
        assert shown.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        press("Space")
        shown.wait_for_phase("disconnected by you")
        press("Space")
        shown.page.locator("#timeline").get_by_text("Resumed after event").wait_for()


def test_fifty_responses_at_once_are_shown_to_their_end(browser: Any, running: Service) -> None:
    """Of another program. None is missing and none is twice, and each has the end that the service tells."""
    client = running.client("second")
    with console_page(browser, running) as shown:
        shown.open("second")
        made = [create(client, "sim-2s")["id"] for _ in range(50)]
        shown.page.get_by_text("50 responses").wait_for()
        shown.page.wait_for_function(
            "() => [...document.querySelectorAll('#rows .pill')].every(one => one.textContent === 'Completed')",
            timeout=40_000,
        )
        addresses = shown.page.locator("#rows a").evaluate_all("all => all.map(one => one.href.split('/').pop())")
    assert sorted(addresses) == sorted(made)
    assert {item["status"] for item in client.get("/responses", params={"limit": "100"}).json()["data"]} <= TERMINAL


def test_a_thousand_rows_stay_fast(browser: Any, running: Service) -> None:
    """They are read page by page, on demand. A round that changes nothing writes nothing."""
    with console_page(browser, running) as shown:
        shown.page.route("**/openai/v1/responses?*", lambda route: route.fulfill(json=thousand(route.request.url)))
        shown.open("second")
        began = time.monotonic()
        for page in range(2, 11):
            shown.page.get_by_role("button", name="Show older ones").click()
            shown.page.get_by_text(f"{page * 100:,} responses").wait_for()
        assert time.monotonic() - began < 20
        shown.page.evaluate(
            "() => { window.written = 0; new MutationObserver((all) => (window.written += all.length))"
            ".observe(document.querySelector('#rows'), {subtree: true, childList: true, characterData: true}); }"
        )
        shown.page.wait_for_timeout(3_000)  # two rounds of the list, at least
        assert shown.page.evaluate("window.written") == 0
        assert shown.page.locator("#rows li").count() == 1_000


def thousand(url: str) -> dict[str, object]:
    """Return a page of a list of a thousand responses, newest first."""
    first = int(url.partition("after=")[2] or "0")
    data = [
        {
            "id": f"resp_{999 - n:032x}",
            "created_at": 1_800_000_000 - n,
            "completed_at": 1_800_000_005 - n,
            "status": "completed",
            "model": f"model-{n % 7}",
            "usage": {"input_tokens": 3, "output_tokens": n, "total_tokens": n + 3},
        }
        for n in range(first, first + 100)
    ]
    return {"data": data, "has_more": first < 900, "next_after": str(first + 100) if first < 900 else None}


@pytest.mark.parametrize("model", ["sim-events-20000", "sim-blob-1mb"])
def test_a_long_text_stays_fast(console: ConsolePage, running: Service, model: str) -> None:
    """Many events, and a large one. The page draws all the time, and the text is whole."""
    console.page.evaluate(
        "() => { window.stall = 0; let last = performance.now(); const tick = (now) => {"
        " window.stall = Math.max(window.stall, now - last); last = now; requestAnimationFrame(tick); };"
        " requestAnimationFrame(tick); }"
    )
    response_id = console.send(model)
    console.wait_for_phase("completed")
    console.page.get_by_text("are the same").wait_for()
    [item] = running.client().get(f"/responses/{response_id}").json()["output"]
    assert console.text() == item["content"][0]["text"]
    assert console.page.evaluate("window.stall") / 1000 < MOST_STALL_S


def test_operators_see_the_whole(console: ConsolePage, running: Service) -> None:
    """What is in flight by kind and caller, the oldest, deliveries in trouble, and charts with words."""
    running.receiver.faults(fail=1, status=413)
    create(running.client("second"), "sim-instant", callback_url=f"{running.receiver.url}/callback")
    waits = create(running.client("second"), "sim-60s")
    page = console.page
    page.get_by_role("link", name="Service").click()
    flight = page.locator(".tile", has_text="In flight")
    flight.get_by_text("background").wait_for()
    assert page.locator(".tile", has_text="Oldest").get_by_text("of second").count() == 1
    page.get_by_role("region", name="Deliveries in trouble, by host").get_by_text("127.0.0.1").wait_for()
    charts = page.get_by_role("img").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert [name.partition(":")[0] for name in charts] == [
        *("Accepted by minute", "Ended by minute", "In flight", "Alarms overdue")
    ]
    running.client("second").post(f"/responses/{waits['id']}/cancel").raise_for_status()


def test_charts_say_what_is_so(console: ConsolePage) -> None:
    """Nothing is nothing, and not one. A line has numbers in words, because not everybody sees the picture."""
    page, counts, at = console.page, [3, 1], count(1_800_000_000)

    def quiet(route: Any) -> None:
        status = route.fetch().json()
        flight = {**status["in_flight"], "count": counts.pop(0) if counts else 1}
        quiet = {"in_flight": flight, "alarms": {**status["alarms"], "overdue": 0}, "this_process": {"by_minute": []}}
        route.fulfill(json=status | quiet | {"at": next(at)})

    page.route("**/operator/status", quiet)
    page.get_by_role("link", name="Service").click()
    page.get_by_role("img", name="In flight: 1 now, 3 at most, since").wait_for()
    page.get_by_role("img", name="Alarms overdue: 0 now, 0 at most, since").wait_for()
    said = page.locator(".chart figcaption .hint").all_inner_texts()
    assert said == ["most: 0", "most: 0", "most: 3", "most: 0"]
    assert not re.search("NaN|Infinity", page.locator(".charts").inner_html())


def test_other_callers_are_not_offered_that(browser: Any, running: Service) -> None:
    """Nor do they get it by its address: they see their list."""
    with console_page(browser, running) as shown:
        shown.open("second")
        assert not shown.page.get_by_role("link", name="Service").is_visible()
        shown.page.goto(f"{shown.url}#/service")
        shown.page.get_by_role("heading", name="New response").wait_for()
        assert [url for url in shown.requested if "/operator/" in url] == []


def test_a_hidden_page_polls_nothing(console: ConsolePage) -> None:
    """It goes on when it is seen again."""
    page = console.page
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away === true, configurable: true})")
    page.evaluate("window.away = true; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(500)
    console.requested.clear()
    page.wait_for_timeout(4_000)
    assert console.requested == []
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    with page.expect_request("**/responses?*"):
        pass


def test_an_open_delivery_that_does_not_change_is_asked_for_less_and_less(
    console: ConsolePage, running: Service
) -> None:
    """It waits for a minute, because its receiver is busy. Each wait is half as long again, up to 5 s."""
    running.receiver.faults(fail=1, status=429)
    asked: list[float] = []
    page = console.page
    page.on("request", lambda one: asked.append(time.monotonic()) if one.url.endswith("/deliveries") else None)
    console.send("sim-instant", callback=f"{running.receiver.url}/callback")
    page.locator(".attempts", has_text="refused with 429").wait_for()
    asked.clear()
    page.wait_for_timeout(10_000)
    assert 3 <= len(asked) <= 5, asked
    assert page.get_by_text("Pending", exact=True).is_visible()
