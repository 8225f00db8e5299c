"""Credentials of a request in what its upstream says, which may repeat them under any name. Pure.

`shared.contract.redaction` finds them in the request.
"""

from collections.abc import Iterable
from typing import Any

from shared.contract.redaction import CONTENT, MASK, MAX_CREDENTIALS, MIN_ECHO

_FEW = 16  # credentials that are looked for one by one
_LONG = 10_000  # characters of a text in which any number of them are
# Members in whose texts, at any depth, credentials are masked. Callers get the message and the code of an error from
# any of them. See `shared.contract.upstream_errors`.
_OF_ERRORS = frozenset({"error", "errors", "last_error", "status_details", "incomplete_details", "message"})


def masked_text(text: str, credentials: frozenset[str]) -> str:
    """Return a text, such as the message of an error, in which these credentials are masked.

    If there are over 1,000, some may not be known, and the whole text is masked.
    """
    return _Masks(credentials).masked(text)


def masked_echo(value: Any, credentials: frozenset[str], name: str = "") -> Any:
    """Return a copy of an upstream's answer in which these credentials are masked, whatever their member is called.

    In a `message`, and in all that an error says, they are masked within a text, and elsewhere if they are the whole
    value. What a model has written is left alone.
    """
    return _echo(value, _Masks(credentials), name, within=False) if credentials else value


class _Masks:
    """Masks credentials in any number of texts. Of many, only those are looked for whose beginning is in the text."""

    def __init__(self, credentials: frozenset[str]) -> None:
        self.known = credentials
        self._by_beginning: dict[str, list[str]] = {}

    def masked(self, text: str) -> str:
        """Return a text without them. The longest one is masked first."""
        if len(self.known) > MAX_CREDENTIALS:
            return MASK
        for credential in sorted(self._possible(text), key=len, reverse=True):
            text = text.replace(credential, MASK)
        return text

    def _possible(self, text: str) -> Iterable[str]:
        # Python's own search is a hundred times as fast as a look at each place of the text, which 32 MiB must not get.
        if len(self.known) <= _FEW or len(text) > _LONG:
            return self.known
        if not self._by_beginning:
            for credential in self.known:
                self._by_beginning.setdefault(credential[:MIN_ECHO], []).append(credential)
        begun = {text[at : at + MIN_ECHO] for at in range(len(text))} & self._by_beginning.keys()
        return [credential for beginning in begun for credential in self._by_beginning[beginning]]


def _echo(value: Any, masks: _Masks, name: str, *, within: bool) -> Any:
    """Return a copy without credentials. `within`: the value is a part of an error."""
    within = within or name in _OF_ERRORS
    if isinstance(value, str):
        if within:
            return masks.masked(value)
        return MASK if value in masks.known and name not in CONTENT else value
    if isinstance(value, list):
        return [_echo(one, masks, name, within=within) for one in value]
    if isinstance(value, dict):
        return {key: _echo(one, masks, key, within=within) for key, one in value.items()}
    return value
