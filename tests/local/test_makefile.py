"""`make` explains itself."""

import re
import subprocess

from local.stack.process import ROOT

TEXT = (ROOT / "Makefile").read_text("utf-8")
INNER = {"storage"}
"""Targets that only other targets name."""


def shown(*target: str) -> str:
    """Return what `make` prints."""
    command = ["make", *target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


def test_make_alone_lists_every_target() -> None:
    """The list is made of the Makefile itself, and begins with what a newcomer runs."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", TEXT, re.MULTILINE)) - INNER
    listed = re.findall(r"^  make ([a-z-]+) +\S", shown(), re.MULTILINE)
    assert set(listed) == targets
    assert shown() == shown("help")
    assert "Start with: make demo" in shown()


def test_every_target_is_phony() -> None:
    """A file of a target's name does not stop it."""
    phony = re.search(r"^\.PHONY: (.+)$", TEXT, re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == set(re.findall(r"^([a-z][a-z-]*):", TEXT, re.MULTILINE))


def test_the_list_fits_a_terminal() -> None:
    """No line is longer than 110 characters."""
    assert max(map(len, shown().splitlines())) <= 110


def test_the_list_says_what_works_without_make() -> None:
    """The two commands are those of docs/laptop.md."""
    assert "python3 -m local.environments app && .venv/bin/python -m local start" in shown()
