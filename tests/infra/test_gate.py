"""Entra authentication in front: a caller brings a token for the gate, and a key for the app."""

import hashlib
import json

import pytest

from shared.contract import callers

KEY = "br_key"
KNOWN = callers.parse_callers(json.dumps([{"name": "ann", "keys": [hashlib.sha256(KEY.encode()).hexdigest()]}]))


@pytest.mark.parametrize("header", ["api-key", "x-functions-key"])
def test_a_token_for_the_gate_is_not_taken_for_the_key(header: str) -> None:
    """The platform reads its token from Authorization, the only place that it knows."""
    found = KNOWN.authenticate({"authorization": "Bearer eyJ.token.of-entra", header: KEY})
    assert found.name == "ann"
