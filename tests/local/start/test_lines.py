"""What `make start` prints."""

import os
import re
import subprocess

import pytest

from local.start.lines import ENDS, PASTE, Started, exports, start_lines

STARTED = Started(
    base_url="http://127.0.0.1:7071/openai/v1",
    key="br_key",
    callback_url="http://127.0.0.1:1/callback",
    secret="whsec_+/=",
    connection="A=b;C=d e",
    storage="Azurite from npm",
    model="simulated",
    log="/tmp/host.log",
)


def test_the_first_line_is_for_programs() -> None:
    """It has the base URL and the key, and nothing else."""
    assert start_lines(STARTED)[0] == "ready http://127.0.0.1:7071/openai/v1 key=br_key"


def test_the_places_stand_in_columns() -> None:
    """Every value begins in the same column."""
    lines = start_lines(STARTED)
    places = lines[2 : lines.index(PASTE) - 1]
    assert [line.split()[0] for line in places] == ["callbacks", "model", "storage", "log"]
    assert {match.end() for match in (re.match(r"  \w+ +", line) for line in places) if match} == {13}


def test_the_export_lines_can_be_pasted() -> None:
    """A shell that reads them has the exact values, also with characters that are special to it."""
    pasted = "\n".join(line for line in start_lines(STARTED) if line.startswith("  export "))
    shown = subprocess.run(
        ["sh", "-c", f"{pasted}\nenv"], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    values = dict(line.partition("=")[::2] for line in shown.stdout.splitlines())
    assert exports(STARTED).items() <= values.items()


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:7071/console"])
def test_the_console_is_mentioned_if_there_is_one(url: str | None) -> None:
    """Its line comes first. A host without the page has no such line."""
    started = Started(**{**vars(STARTED), "console_url": url})
    assert (start_lines(started)[2] == "  console    http://127.0.0.1:7071/console") == bool(url)


def test_the_last_line_says_what_follows() -> None:
    """Callbacks follow it, and Ctrl-C ends them."""
    assert start_lines(STARTED)[-1] == ENDS


def test_a_log_line_cannot_show_the_secrets() -> None:
    """The key, the signing secret and the connection string are not in the `repr`."""
    assert not re.search("br_key|whsec|A=b", repr(STARTED))
