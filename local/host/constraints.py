"""Route constraints: the pattern of a parameter, and regular expressions as .NET reads them."""

import re

from local.host.errors import LoadError

_PATTERNS = {
    "": "[^/]+",
    "int": "-?[0-9]{1,10}",
    "long": "-?[0-9]{1,19}",
    "bool": "true|false",
    "alpha": "[a-z]+",
    "guid": "[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}",
}
_REGEX = re.compile(r"regex\((.*)\)", re.DOTALL)
_SPACES = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_TRANSLATED = {r"\z": r"\Z", r"\Z": r"(?=\n?\Z)", r"\s": f"[{_SPACES}]", r"\S": f"[^{_SPACES}]", "(?<": "(?P<"}
_TOKEN = re.compile(r"\[(?:\\.|[^\]\\])+\]|\\.|\(\?<(?![=!])|.", re.DOTALL)


def pattern(constraint: str) -> str:
    """Return the pattern of a parameter with this constraint. Raise LoadError for one that this host does not know."""
    name = "" if _REGEX.fullmatch(constraint) else constraint
    if name not in _PATTERNS:
        raise LoadError(f"the local host does not know the route constraint {constraint}")
    return _PATTERNS[name]


def expression(constraint: str) -> re.Pattern[str] | None:
    r"""Return the expression that a value must contain, or None. Raise LoadError for one that Python cannot read.

    The host is .NET: `\z` is the end, `\Z` and `$` are also before a last line feed, and case is ignored.
    """
    found = _REGEX.fullmatch(constraint)
    if found is None:
        return None
    text = found[1].replace("{{", "{").replace("}}", "}")
    try:
        return re.compile("".join(map(_translated, _TOKEN.findall(text))), re.IGNORECASE)
    except re.error as error:
        raise LoadError(f"the local host cannot read the route constraint {constraint}: {error}") from None


def _translated(token: str) -> str:
    if not token.startswith("["):
        return _TRANSLATED.get(token, token)
    if r"\S" in token:
        raise LoadError(rf"the local host does not know \S within {token}")
    return token.replace(r"\s", _SPACES)
