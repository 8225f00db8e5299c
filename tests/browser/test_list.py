"""The list of responses: what it shows when much is new, when little matches, and when something ended out of sight."""

import re
from typing import Any

import pytest

from local.responses import TERMINAL
from tests.support.console_page import ConsolePage
from tests.support.service_process import Service, create, finished

Entry = dict[str, Any]
LIST = re.compile(r"/openai/v1/responses\?")
ONE = re.compile(r"/openai/v1/responses/(resp_\w+)$")


def entry(n: int, status: str = "completed") -> Entry:
    """Return an entry of a list. A higher number is newer."""
    at = 1_800_000_000 + n
    ended = {"completed_at": at + 5, "ended_at": at + 5} if status in TERMINAL else {}
    return {"id": f"resp_{n:032x}", "created_at": at, "status": status, "model": f"model-{n}", **ended}


def serve(console: ConsolePage, entries: list[Entry], most: int = 100) -> None:
    """Answer the page with these entries, newest first, a page of at most 100 or `most` at a time."""

    def answer(route: Any) -> None:
        after = re.search(r"after=(\d+)", route.request.url)
        place = int(after[1]) if after else len(entries)
        data = entries[::-1][len(entries) - place :][:most]
        left = place - len(data)
        route.fulfill(json={"data": data, "has_more": left > 0, "next_after": str(left) if left else None})

    console.page.route(LIST, answer)


def shown(console: ConsolePage) -> list[str]:
    """Return the ids of the rows, from above."""
    addresses = console.page.locator("#rows a").evaluate_all("all => all.map(one => one.href.split('/').pop())")
    return [str(one) for one in addresses]


def show_all(console: ConsolePage, total: int) -> None:
    """Ask for older ones until there are none. Each click shows 100 more."""
    for so_far in range(200, total + 100, 100):
        console.page.get_by_role("button", name="Show older ones").click()
        console.page.get_by_text(re.compile(f"^{min(so_far, total)} responses")).wait_for()


def test_more_new_ones_than_a_page_has_leave_no_gap(console: ConsolePage) -> None:
    """Between two rounds 250 were accepted. The list begins again, and it is whole and in order when all is shown."""
    entries = [entry(n) for n in range(150)]
    serve(console, entries)
    console.page.locator("#rows", has_text="model-149").wait_for()
    show_all(console, 150)
    entries += [entry(n) for n in range(150, 400)]
    console.page.locator("#rows", has_text="model-399").wait_for()
    assert shown(console) == [one["id"] for one in entries[:299:-1]]
    show_all(console, 400)
    assert shown(console) == [one["id"] for one in entries[::-1]]


def test_a_few_new_ones_are_put_above_the_others(console: ConsolePage) -> None:
    """What was shown stays."""
    entries = [entry(n) for n in range(150)]
    serve(console, entries)
    console.page.locator("#rows", has_text="model-149").wait_for()
    show_all(console, 150)
    entries += [entry(n) for n in range(150, 180)]
    console.page.locator("#rows", has_text="model-179").wait_for()
    assert shown(console) == [one["id"] for one in entries[::-1]]


def test_an_empty_page_with_more_behind_it_removes_nothing(console: ConsolePage) -> None:
    """The service answers so if little matches among many. What was shown of the next page stays."""
    pages = [
        {"data": [], "has_more": True, "next_after": "1"},
        {"data": [entry(1), entry(0)], "has_more": False, "next_after": None},
    ]
    console.page.route(LIST, lambda route: route.fulfill(json=pages["after=" in route.request.url]))
    console.page.locator("#rows li").first.wait_for(state="detached")
    console.page.get_by_role("button", name="Show older ones").click()
    console.page.get_by_text("2 responses").wait_for()
    for _ in range(2):
        with console.page.expect_response(LIST):
            pass
    console.page.wait_for_timeout(300)  # the page takes the answer
    assert shown(console) == [entry(1)["id"], entry(0)["id"]]


def test_unfinished_ones_behind_the_first_page_take_turns(console: ConsolePage) -> None:
    """Five are asked for in a round. The sixth is shown as ended, although five go on, and a deleted one goes."""
    old = [entry(n, "in_progress") for n in range(7)]
    serve(console, [*old, *(entry(n) for n in range(7, 107))])
    ended, deleted = old[1]["id"], old[0]["id"]  # the last ones in the list, which begins with the newest

    def one(route: Any) -> None:
        found = ONE.search(route.request.url)
        assert found
        known = {item["id"]: item for item in old} | {
            ended: old[1] | {"status": "completed", "ended_at": 1_800_000_009}
        }
        if found[1] == deleted:
            route.fulfill(status=404, json={"error": {"message": "No such response.", "code": "not_found"}})
        else:
            route.fulfill(json=known[found[1]])

    console.page.route(ONE, one)
    console.page.locator("#rows", has_text="model-106").wait_for()
    show_all(console, 107)
    console.page.locator(f"#rows a[href$='{ended}']").get_by_text("Completed").wait_for()
    console.page.locator(f"#rows a[href$='{deleted}']").wait_for(state="detached")
    console.page.get_by_text("106 responses, 5 unfinished").wait_for()
    assert ["404" in said for said in console.errors] == [True]
    console.errors.clear()


def test_one_that_the_filter_does_not_ask_for_any_more_goes(console: ConsolePage) -> None:
    """Also behind the first page, where only asking for it tells."""
    entries = [entry(n, "in_progress") for n in range(101)]
    serve(console, entries)
    console.page.route(ONE, lambda route: route.fulfill(json=entries[0] | {"status": "completed"}))
    console.page.get_by_label("Status").select_option("in_progress")
    console.page.locator("#rows", has_text="model-100").wait_for()
    console.page.get_by_role("button", name="Show older ones").click()
    console.page.locator(f"#rows a[href$='{entries[0]['id']}']").wait_for()
    console.page.locator(f"#rows a[href$='{entries[0]['id']}']").wait_for(state="detached")


@pytest.mark.parametrize("status", ["failed", "incomplete", "cancelled"])
def test_every_end_has_a_time(console: ConsolePage, running: Service, status: str) -> None:
    """In the list, above the text and in the timeline, also of a response of another program, opened after its end."""
    model = {"failed": "sim-fail-1.2s", "incomplete": "sim-incomplete-1.2s", "cancelled": "sim-60s"}[status]
    client = running.client()
    made = create(client, model)
    row = console.page.locator(f"#rows a[href$='{made['id']}']")
    row.wait_for()
    if status == "cancelled":
        console.page.wait_for_timeout(1_100)  # a time of its own second
        client.post(f"/responses/{made['id']}/cancel").raise_for_status()
    ended = finished(client, made)
    assert ended["status"] == status
    took = f"{ended['ended_at'] - ended['created_at']:.1f} s"
    row.get_by_text(status.capitalize()).wait_for()
    row.locator(".row-age", has_text=took).wait_for()
    row.click()
    console.wait_for_phase(status)
    assert console.page.locator("#elapsed").inner_text() == took
    assert f"{status.capitalize()} after {took}." in console.story()
