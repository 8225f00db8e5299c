"""Makes the pictures of the console in docs/images, from a real browser: `make screenshots`."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from local.azurite import azurite
from local.stack.process import ROOT
from tests.support import browsers
from tests.support.console_page import ConsolePage, console_page
from tests.support.service_process import Service, create, service

IMAGES = ROOT / "docs" / "images"
DESKTOP = {"width": 1200, "height": 740}
PHONE = {"width": 390, "height": 780}
SAMPLE = ROOT / "local" / "demo" / "sample.md"


def main() -> None:
    """Run the service and a browser, and write the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder, azurite() as storage, browsers.browser() as browser:
        callers = ("first", "second")
        with service(Path(folder), storage.account(), callers=callers, operators=callers, CONSOLE="true") as running:
            fill(running)
            for scheme in ("light", "dark"):
                response(browser, running, scheme)
            phone(browser, running)
            operators(browser, running)


def fill(running: Service) -> None:
    """Make what a list has after a while: ends of every kind, callbacks, and work that goes on."""
    first, second = running.client(), running.client("second")
    for model in ("sim-instant", "sim-1s", "sim-fail-0.5s", "sim-incomplete-0.5s", "sim-2s", "sim-tool"):
        create(first, model, input=SAMPLE.read_text(encoding="utf-8"))
    create(first, "sim-600s")
    first.post(f"/responses/{create(first, 'sim-60s')['id']}/cancel").raise_for_status()
    for n in range(30):
        create(second, f"sim-{120 + n % 3 * 30}s", callback_url=f"{running.receiver.url}/callback")
    running.receiver.faults(fail=2, status=413)
    for _ in range(4):
        create(second, "sim-instant", callback_url=f"{running.receiver.url}/callback")


@contextmanager
def shown(browser: Any, running: Service, size: dict[str, int], **options: object) -> Iterator[ConsolePage]:
    """Open the page in a size."""
    with console_page(browser, running, **options) as console:
        console.page.set_viewport_size(size)
        yield console.open()


def response(browser: Any, running: Service, scheme: str) -> None:
    """Show a response that is being written, after its connection was dropped and resumed."""
    with shown(browser, running, DESKTOP, color_scheme=scheme) as console:
        console.send("sim-12s", SAMPLE.read_text(encoding="utf-8"), callback=f"{running.receiver.url}/callback")
        console.wait_for_text(120)
        drop = console.page.get_by_role("switch")
        drop.click()
        console.page.wait_for_timeout(1_200)
        drop.click()
        console.wait_for_text(430)
        take(console, f"console-{scheme}")
        console.wait_for_phase("completed")


def phone(browser: Any, running: Service) -> None:
    """Show an ended response on a phone."""
    options: dict[str, Any] = {"is_mobile": True, "has_touch": True, "device_scale_factor": 1.5}
    with shown(browser, running, PHONE, **options) as console:
        console.page.goto(f"{console.url}#/new")
        console.page.locator("#model").wait_for()
        console.page.locator("#model").fill("sim-2s")
        console.page.locator("#text").fill(SAMPLE.read_text(encoding="utf-8"))
        console.page.get_by_role("button", name="Send").click()
        console.wait_for_phase("completed")
        console.page.locator("#output").evaluate("text => text.scrollTo(0, 0)")
        take(console, "console-phone")


def operators(browser: Any, running: Service) -> None:
    """Show what operators see."""
    with shown(browser, running, DESKTOP) as console:
        console.page.get_by_role("link", name="Service").click()
        console.page.get_by_text("All callers, as of").wait_for()
        console.page.wait_for_timeout(16_000)  # the charts get some points
        take(console, "console-service")


def take(console: ConsolePage, name: str) -> None:
    """Write a picture of what is shown."""
    console.page.evaluate("document.activeElement.blur()")
    console.page.locator(".toast").first.wait_for(state="detached")
    picture = console.page.screenshot(animations="disabled")
    (IMAGES / f"{name}.png").write_bytes(smaller(picture))
    sys.stdout.write(f"docs/images/{name}.png\n")


def smaller(picture: bytes) -> bytes:
    """Return a picture with 256 colours, if `pngquant` is here to choose them, or else as it is."""
    program = shutil.which("pngquant")
    if program is None:
        return picture
    return subprocess.run([program, "--strip", "256", "-"], input=picture, capture_output=True, check=True).stdout


if __name__ == "__main__":
    main()
