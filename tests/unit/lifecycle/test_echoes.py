"""Credentials of a request in what its upstream says: whole values under any name, and parts of messages."""

import tracemalloc
from typing import Any

import pytest

from shared.contract.redaction import MASK, MAX_CREDENTIALS
from shared.lifecycle import completion
from shared.lifecycle.echoes import masked_echo, masked_text
from tests.support.threads import counted_threads

KEY = "geheim-0123456789"
MANY = frozenset(f"secret-{n:04d}" for n in range(998)) | {KEY, f"Bearer {KEY}"}


def test_the_message_of_an_error_does_not_repeat_a_credential() -> None:
    """Within its text too. The longest one is masked first."""
    text = f"401 from the server for Bearer {KEY} ({KEY})"
    assert masked_text(text, frozenset({KEY, f"Bearer {KEY}"})) == "401 from the server for *** (***)"


def test_an_echo_is_masked_under_any_name() -> None:
    """An upstream may call the member as it likes. What the model has written is not changed."""
    said = {"x": [{"sent": KEY}], "error": {"message": f"bad {KEY}"}, "output": [{"text": KEY}], "n": 1}
    shown = masked_echo(said, frozenset({KEY}))
    assert shown == {"x": [{"sent": MASK}], "error": {"message": "bad ***"}, "output": [{"text": KEY}], "n": 1}
    assert masked_echo(said, frozenset()) is said


@pytest.mark.parametrize(
    "said",
    [
        {"error": f"refused {KEY}"},
        {"error": {"detail": f"refused {KEY}"}},
        {"error": {"code": f"refused {KEY}"}},
        {"error": {"details": [{"headers": [f"refused {KEY}"]}]}},
        {"errors": {"field": [f"refused {KEY}"]}},
        {"last_error": {"reason": f"refused {KEY}"}},
        {"status_details": f"refused {KEY}"},
        {"incomplete_details": {"reason": f"refused {KEY}"}},
        {"output": [{"type": "mcp_call", "error": {"content": [{"text": f"refused {KEY}"}]}}]},
    ],
)
def test_an_error_does_not_repeat_a_credential_within_any_of_its_texts(said: dict[str, Any]) -> None:
    """Callers get the message of an error from any of these members."""
    shown = masked_echo(said, frozenset({KEY}))
    assert KEY not in str(shown)
    assert "refused ***" in str(shown)


def test_a_long_message_needs_little_memory_however_many_credentials_are_looked_for() -> None:
    """All of its pieces would take 80 times its own memory."""
    text = "".join(f"{n:07d}" for n in range(100_000)) + KEY
    tracemalloc.start()
    try:
        masked = masked_text(text, MANY)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert masked == text.removesuffix(KEY) + MASK
    assert peak < 4 * len(text)


@pytest.mark.parametrize("credentials", [frozenset({KEY, f"Bearer {KEY}", "other-secret"}), MANY])
@pytest.mark.parametrize("text", ["", "short", KEY, f"x{KEY}", f"no Bearer {KEY}, no {KEY}", "secret-", "geheim-0 1"])
def test_many_credentials_are_masked_as_a_few_are(credentials: frozenset[str], text: str) -> None:
    """At the beginning, in the middle and at the end of a text, and the longest first."""
    assert masked_text(text, credentials) == text.replace(f"Bearer {KEY}", MASK).replace(KEY, MASK)


def test_a_message_is_masked_as_a_whole_if_some_credentials_are_not_known() -> None:
    """A request that an older version has accepted may have any number of them."""
    too_many = frozenset(f"secret-{n:05d}" for n in range(MAX_CREDENTIALS + 1))
    assert masked_text("of another secret", too_many) == MASK
    assert masked_echo({"error": {"message": "no"}, "n": "no"}, too_many) == {"error": {"message": MASK}, "n": "no"}


@pytest.mark.parametrize(("credentials", "count"), [(MANY, 1), (frozenset({KEY}), 0), (frozenset(), 0)])
async def test_many_credentials_are_looked_for_in_a_thread(credentials: frozenset[str], count: int) -> None:
    """However small what the upstream says is."""
    with counted_threads() as threads:
        masked = await completion.masked({"got": KEY}, credentials)
    assert (masked, threads.count) == ({"got": MASK if credentials else KEY}, count)
