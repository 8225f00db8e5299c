"""With Entra authentication in front of the app, a caller sends a token for Entra and a key for the app."""

import hashlib
import json

import pytest

from shared.contract import callers

KEY = "br_key"
KNOWN = callers.parse_callers(json.dumps([{"name": "ann", "keys": [hashlib.sha256(KEY.encode()).hexdigest()]}]))


@pytest.mark.parametrize("header", ["api-key", "x-functions-key"])
def test_an_entra_token_is_not_taken_for_the_key(header: str) -> None:
    """The key comes from another header. The platform reads its token only from `Authorization`."""
    found = KNOWN.authenticate({"authorization": "Bearer eyJ.token.of-entra", header: KEY})
    assert found.name == "ann"
