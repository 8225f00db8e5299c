"""The JSON that the docs show is what the code reads and writes. An ellipsis stands for an id, a secret or members."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from shared.contract.callers import parse_callers
from shared.contract.pages import parse_page
from shared.core.errors import BadRequest
from shared.openapi.event_schemas import event_schemas
from shared.storage.messages import QueuedRequest
from shared.upstreams import specs
from tests.support.described_api import check
from tests.support.doc_blocks import Block, blocks

HEX = "0123456789abcdef" * 2
SECRET = "whsec_" + "A" * 32


def erasure(shown: Any) -> None:
    """Assert that a receipt has the members of the API's description."""
    check("Erasure", {**shown, "id": shown["id"].replace("…", HEX)})


def waiting(shown: Any) -> None:
    """Assert that what a response waits for has the members of the API's description."""
    check("Waiting", shown)


def event(shown: Any) -> None:
    """Assert that an event has the members of the API's description, and that its two times are the same."""
    assert shown.keys() == event_schemas()["WebhookEvent"]["properties"].keys() - {"truncated"}
    assert datetime.fromisoformat(shown["timestamp"]).timestamp() == shown["created_at"]
    check("WebhookEvent", {**shown, "id": f"evt_{HEX}", "data": {"id": f"resp_{HEX}", "object": "response"}})


def old_secret(shown: Any) -> None:
    """Assert that a caller may have such a secret behind its first one."""
    secrets = [SECRET, {**shown, "secret": shown["secret"].replace("…", "A" * 32)}]
    caller = {"name": "ann", "keys": ["0" * 64], "signing_secrets": secrets}
    parse_callers(json.dumps([caller]))


def refusal(shown: Any) -> None:
    """Assert that the service answers a wrong limit so, word by word."""
    with pytest.raises(BadRequest) as refused:
        parse_page({"limit": "0"})
    assert shown == refused.value.envelope()


def queued(shown: Any) -> None:
    """Assert that nothing is wrong with a queued request, and that it is read whole."""
    read = QueuedRequest.read("message", json.dumps(shown).encode())
    assert read.wrong is None
    assert (read.request, read.reply_to, read.id) == (shown["request"], shown["reply_to"], shown["id"])
    assert read.correlation_id == shown["correlation_id"]


def upstreams(shown: Any) -> None:
    """Assert that the setting takes them together."""
    found = specs.check_together(specs.parse_upstreams(json.dumps(shown), lambda name: f"value of {name}"))
    assert [one.name for one in found] == [one["name"] for one in shown]


CHECKS: dict[str, list[Callable[[Any], None]]] = {
    "docs/api.md": [erasure, waiting],
    "docs/deliveries.md": [event, old_secret],
    "docs/errors.md": [refusal],
    "docs/queues.md": [queued],
    "docs/upstreams.md": [upstreams],
}
"""What each block of a page is checked by, in their order."""


def shown(page: str) -> list[Block]:
    """Return the blocks of JSON of a page."""
    return [one for one in blocks() if one.page == page and one.language == "json"]


@pytest.mark.parametrize("page", CHECKS)
def test_the_json_of_a_page_is_what_the_code_reads_or_writes(page: str) -> None:
    """Each of its blocks."""
    for block, check_block in zip(shown(page), CHECKS[page], strict=True):
        check_block(json.loads(block.text))


def test_every_page_with_json_is_checked() -> None:
    """None is left out."""
    assert {one.page for one in blocks() if one.language == "json"} == CHECKS.keys()
