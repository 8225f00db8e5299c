"""Callers: who is an operator, and that nobody is let in without a key."""

import hashlib

import pytest

from shared.contract.callers import Caller, Callers, parse_callers
from shared.core.errors import SettingsError, Unauthorized
from tests.unit.contract.test_callers import digest, secret


@pytest.mark.parametrize("headers", [{}, {"api-key": ""}, {"authorization": "Bearer "}, {"authorization": "Basic x"}])
def test_a_request_without_a_key_is_nobody(headers: dict[str, str]) -> None:
    """Even if a caller were configured with the digest of nothing."""
    everybody = Callers([Caller("everybody", (hashlib.sha256(b"").digest(),), ())])
    with pytest.raises(Unauthorized):
        everybody.authenticate(headers)


def test_the_digest_of_an_empty_key_is_refused() -> None:
    """It is what a script makes of a variable that is not set."""
    with pytest.raises(SettingsError, match=r"CALLERS\[0\]\.keys holds the digest of an empty key"):
        parse_callers(secret(keys=[digest("")]))


@pytest.mark.parametrize(("role", "is_operator"), [(None, False), ("operator", True)])
def test_a_caller_may_be_an_operator(role: str | None, is_operator: bool) -> None:
    """No caller is one by accident."""
    caller = parse_callers(secret(role=role)).named("ann")
    assert caller
    assert caller.is_operator is is_operator


@pytest.mark.parametrize("role", ["Operator", "admin", "", True, 1, ["operator"]])
def test_any_other_role_is_refused(role: object) -> None:
    """A role that is misspelt would be one that is missing."""
    with pytest.raises(SettingsError, match=r"CALLERS\[0\]\.role must be 'operator'"):
        parse_callers(secret(role=role))
