"""docs/errors.md lists the codes of the service, all of them and no others.

The codes are those of the OpenAPI document. tests/unit/openapi/test_faults.py compares that with the code, both ways.
"""

import ast
import re

import pytest

from local.stack.process import ROOT
from shared.openapi import faults
from tests.support.source_trees import MODULES

PAGE = (ROOT / "docs" / "errors.md").read_text("utf-8")
RULES = re.compile(r"callback_url_\w*")
"""docs/deliveries.md lists these."""

CODE = re.compile(r"^\| `(\w+)` \|(?: ([0-9, ]+) \|)?", re.MULTILINE)
IN_A_STREAM = "In a stream, an `error` event"


def part(begin: str, end: str = "\n## ") -> str:
    """Return what the page says behind a text, up to another."""
    assert begin in PAGE
    return PAGE.partition(begin)[2].partition(end)[0]


def answers_on_the_page() -> set[tuple[int, str]]:
    """Return the status and the code of each error answer on the page, but those of callback URLs."""
    rows = CODE.findall(part("## Codes of an answer"))
    found = {(int(status), code) for code, statuses in rows for status in statuses.split(", ")}
    return {(status, code) for status, code in found if not RULES.fullmatch(code)}


def test_every_code_of_an_answer_is_on_the_page_with_its_status_and_the_reverse() -> None:
    """A reader who searches the page for a code finds it."""
    documented = {(one.status, one.code) for one in faults.ALL if one.code and not RULES.fullmatch(one.code)}
    assert answers_on_the_page() == documented


@pytest.mark.parametrize(
    ("begin", "end", "codes"),
    [
        ("## Codes of a failed response", IN_A_STREAM, faults.FAILURES),
        (IN_A_STREAM, "\n## ", faults.STREAM_ERRORS),
    ],
    ids=["failures", "events"],
)
def test_every_reason_of_a_failure_is_on_the_page_and_the_reverse(begin: str, end: str, codes: dict[str, str]) -> None:
    """Those of a failed response, and those of an event that is no failure."""
    assert {code for code, _ in CODE.findall(part(begin, end))} == codes.keys()


def test_the_statuses_of_the_page_are_those_of_the_service() -> None:
    """The first table says of each whether a repeat helps. Another 4xx is an upstream's."""
    table = part("| status | repeat", "\n\n")
    named = {int(status) for status in re.findall(r"\b[45]\d\d\b", table)}
    assert named == {fault.status for fault in faults.ALL}


def test_the_codes_of_callback_urls_are_on_their_page() -> None:
    """The page of deliveries has one for each rule of the URL policy, and one for a caller without a secret."""
    calls = (node for node in ast.walk(MODULES["shared.senders.url_policy"]) if isinstance(node, ast.Call))
    refusals = (node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "CallbackUrlRefused")
    rules = {ast.literal_eval(node.args[0]) for node in refusals}
    table = (ROOT / "docs" / "deliveries.md").read_text("utf-8")
    assert rules
    assert {f"callback_url_{rule}" for rule in rules} <= set(RULES.findall(table))
    assert {one.code for one in faults.ALL if one.code and RULES.fullmatch(one.code)} == set(RULES.findall(table))
