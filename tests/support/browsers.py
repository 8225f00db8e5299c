"""A real browser: Chromium of the system, driven by Playwright, which has an environment of its own."""

import importlib
import os
import shutil
import site
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.environments import need

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def chromium() -> str:
    """Return the program of the browser. Without one, skip the test on a laptop and fail it in CI."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        reason = "there is no Chromium here: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """Run a browser until the end of the block."""
    program = chromium()
    site.addsitedir(str(need("browser") / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"))
    with importlib.import_module("playwright.sync_api").sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield running
        running.close()
