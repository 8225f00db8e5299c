"""The console in a browser, as a person uses it: what is on the page is found by its names and roles."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.service_process import Service

SEEN_MS = 15_000  # how long something may take to be on the page
LOOK_MS = 50
TEXT = "\n".join(f"Sentence number {n} of a text that is long enough to be written for a while." for n in range(1, 8))


class ConsolePage:
    """A tab with the console. Whatever the browser reports as an error is kept in `errors`."""

    def __init__(self, page: Any, running: Service) -> None:
        self.page = page
        self.url = f"{running.hosts[0].url}/console"
        self.running = running
        self.errors: list[str] = []
        self.requested: list[str] = []
        page.set_default_timeout(SEEN_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda asked: self.requested.append(asked.url))

    def _hear(self, said: Any) -> None:
        if said.type in ("error", "warning"):
            self.errors.append(said.text)

    def open(self, caller: str = "first") -> "ConsolePage":
        """Open the page and sign in as a caller."""
        self.page.goto(self.url)
        self.sign_in(self.running.callers[caller].api_key)
        self.page.get_by_role("heading", name="Responses", exact=True).wait_for()
        return self

    def sign_in(self, key: str) -> None:
        """Enter a key."""
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()

    def send(self, model: str, text: str = TEXT, *, stream: bool = True, callback: str = "", **boxes: bool) -> str:
        """Send a new response, and return its id when it is shown."""
        self.page.get_by_role("link", name="New response").click()
        self.page.locator("#model").fill(model)
        self.page.locator("#text").fill(text)
        self.page.locator("#callback").fill(callback)
        for box, is_wanted in {"stream": stream, **boxes}.items():
            self.page.locator(f"#{box}").set_checked(is_wanted)
        self.page.get_by_role("button", name="Send").click()
        self.page.wait_for_url(re.compile("#/responses/resp_"))
        return str(self.page.url.rpartition("/")[2])

    def show(self, response_id: str) -> None:
        """Open a response."""
        self.page.goto(f"{self.url}#/responses/{response_id}")

    def wait_for_phase(self, words: str) -> None:
        """Wait until the progress line says this."""
        self.page.locator("#phase", has_text=re.compile(f"^{words}$", re.IGNORECASE)).wait_for()

    def text(self) -> str:
        """Return the text of the answer as it is shown."""
        return "".join(self.page.locator("#output").evaluate("all => [...all.childNodes].map(one => one.textContent)"))

    def wait_for_text(self, least: int) -> str:
        """Wait until so many characters of the answer are shown."""
        for _ in range(SEEN_MS // LOOK_MS):
            if len(text := self.text()) >= least:
                return text
            self.page.wait_for_timeout(LOOK_MS)
        raise AssertionError(f"{least} characters were not shown, but {text!r}")

    def story(self) -> str:
        """Return the timeline."""
        return str(self.page.locator("#timeline").inner_text())

    def verdict(self) -> str:
        """Return what the page says when it has compared the streamed text with the stored one."""
        return str(self.page.locator("#verdict").inner_text())


@contextmanager
def console_page(browser: Any, running: Service, **options: object) -> Iterator[ConsolePage]:
    """Open a tab of its own, which has nothing of another one. At the end, the browser has reported no error."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, **options)
    shown = ConsolePage(context.new_page(), running)
    try:
        yield shown
        assert shown.errors == [], shown.errors
    finally:
        context.close()
