"""Credentials in objects, events and lists: which members hold them, and copies without them. Pure.

A request carries credentials for third parties, such as the servers of its MCP tools. They are for the upstream alone.
An upstream may repeat them in its answers. What callers and receivers get has a mask in their place, as OpenAI's own
responses have none of them either. https://developers.openai.com/api/docs/guides/tools-connectors-mcp

Two rules find them. A list names the members of known tools. Any other member is masked if its name is that of a
credential. What a model has written, the metadata of the caller and the property names of a JSON schema are left alone.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

MASK = "***"
MAX_NAME = 100  # characters of a name that count
MIN_ECHO = 8  # characters. A shorter value is likely to stand in a text for another reason.
MAX_CREDENTIALS = 1_000  # of one request
MAX_URL = 8_192  # characters. A longer one is masked as a whole
MAX_PARTS = 5_000  # of the URLs in one value. Each part is looked at alone, so what follows is masked as a whole

# Objects that hold names of a caller's or a model's choice, or the words of a model.
_LEFT_ALONE = frozenset({"metadata", "logprobs", "top_logprobs"})
# Members that hold what a model, a tool or a user has written.
CONTENT = frozenset({"text", "delta", "arguments", "content", "input", "output", "refusal", "transcript", "code"})
# The maps of a JSON schema from a name to a schema. The name of a property is no credential.
_SCHEMAS = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
# The secret-bearing members by the type of a tool, beside those whose name says so.
_BY_TYPE = {
    "mcp": frozenset({"authorization", "headers"}),
    "openapi": frozenset({"auth"}),
}
_PAIRED = ("name", "key", "header")  # in a list of pairs, the member that names the `value`
_PLAIN_HEADERS = frozenset({"accept", "accept_encoding", "accept_language", "cache_control", "content_type"}) | {
    *("connection", "user_agent")
}

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATOR = re.compile(r"[^a-z0-9]+")
_OWNERS = (
    "access|account|admin|api|app|application|auth|client|consumer|encryption|functions?|host|license|master|private|"
    "secret|server|service|shared|signing|storage|subscription|vault|virtual"
)
_CREDENTIAL = re.compile(
    r"(?:.*_)?(?:"
    r"auth|authentication|authorization|(?:auth|authentication|authorization)_(?:headers?|value|code|config)|"
    r"credentials?|password|passwd|pwd|passphrase|secrets?|secret_value|bearer|cookies?|jwt|"
    rf"(?:{_OWNERS})_?keys?|access_key_id|connection_?string|(?:access|auth|bearer|refresh|session)tokens?|clientsecret|"
    r"[a-z0-9]+_tokens?_value|token"
    r")"
)
_PLAIN_TOKEN = re.compile(
    r"(?:.*_)?(?:continuation|cursor|delta|next|page|previous|prev|resume|skip|sync|"
    r"bos|end|eos|first|image|last|mask|max|pad|sep|start|stop|unk)_token"
)
_HEADERS = re.compile(r"(?:.*_)?headers?")
# One of these is in every name that the patterns above accept.
_HINT = re.compile("auth|bearer|connection|cookie|credential|header|jwt|key|pass|pwd|secret|token")
# Each part keeps all that it can take. If the parts could divide a text anew, one of 8 MiB that is no URL would take
# weeks, because the time would be quadratic.
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*+://)(?>(?P<user>[^/?#\s]*)@)?+(?P<host>[^/?#\s@]*+)"
    r"(?P<path>[^?#\s]*+)(?:\?(?P<query>[^#\s]*+))?+(?:#\S*+)?+"
)
_BETWEEN_PARTS = ("/", "&", ":")
_OF_SCHEME = len("://")  # so a host alone has no parts
_SIGNATURES = frozenset({"code", "key", "sas", "sig", "signature", "x_amz_signature", "x_goog_signature"})
_PLAIN_SEGMENT = re.compile(r"[a-z][a-z._-]{0,19}|v[0-9]{1,3}(?:\.[0-9]{1,3})?|")
_SCHEME = re.compile(r"(?i:bearer|basic|token|apikey)\s+(\S.*)")

_Note = Callable[[str], None]


class _Found:
    """What is done with the credentials of one value: nothing. It also counts the parts of the URLs in it."""

    def __init__(self) -> None:
        self._left = MAX_PARTS

    def __call__(self, credential: str) -> None:
        """Take note of a credential."""

    def has_room(self, parts: int) -> bool:
        """Return whether a URL of so many parts may be looked through. If not, it is masked as a whole."""
        if parts > self._left:
            return False
        self._left -= parts
        return True


class _Enough(Exception):
    """More credentials were found than are looked for."""


class _Collected(_Found):
    """Collects those that are long enough, also without the scheme of a header, until there are too many."""

    def __init__(self) -> None:
        super().__init__()
        self.values: set[str] = set()

    def __call__(self, credential: str) -> None:
        scheme = _SCHEME.fullmatch(credential)
        self.values.update(one for one in (credential, scheme and scheme[1]) if one and len(one) >= MIN_ECHO)
        if len(self.values) > MAX_CREDENTIALS:
            raise _Enough


def without_credentials(value: Any) -> Any:
    """Return a copy of a JSON value in which every credential is masked."""
    return _walk(value, "", in_tool=False, found=_Found())


def credentials_in(request: Mapping[str, Any]) -> frozenset[str]:
    """Return the credentials in a request that are long enough to be looked for in what an upstream says.

    The search ends as soon as there are over 1,000. Such a request is refused.
    """
    found = _Collected()
    with suppress(_Enough):
        _walk(request, "", in_tool=False, found=found)
    return frozenset(found.values)


def is_credential(name: str) -> bool:
    """Return whether the name of a member is that of a credential, in any style of writing it."""
    return _roles(name[:MAX_NAME])[0]


@lru_cache(2_048)
def _roles(name: str) -> tuple[bool, bool]:
    """Return whether the name of a member is that of a credential, and whether it is that of HTTP headers."""
    if not _HINT.search(name.lower()):  # a large request may have half a million names
        return False, False
    plain = _plain(name)
    is_secret = bool(_CREDENTIAL.fullmatch(plain)) and not _PLAIN_TOKEN.fullmatch(plain)
    return is_secret, bool(_HEADERS.fullmatch(plain))


def _ignore(_credential: str) -> None:
    return


def _plain(name: str) -> str:
    """Return a name in lower case with one underscore between its words."""
    return _SEPARATOR.sub("_", _HUMP.sub("_", name).lower()).strip("_")


def _walk(value: Any, name: str, *, in_tool: bool, found: _Found) -> Any:
    if isinstance(value, dict):
        return _object(value, in_tool=in_tool, found=found)
    if isinstance(value, list):
        return [_walk(one, name, in_tool=in_tool or name == "tools", found=found) for one in value]
    if isinstance(value, str) and name not in CONTENT:
        return _url(value, name, in_tool=in_tool, found=found)
    return value


def _object(members: dict[str, Any], *, in_tool: bool, found: _Found) -> dict[str, Any]:
    kind = members.get("type")
    listed = _BY_TYPE.get(kind, frozenset()) if isinstance(kind, str) else frozenset()
    in_tool = in_tool or bool(listed)
    secret = listed | {"value"} if "value" in members and _is_secret_pair(members) else listed
    return {
        name: _credential(name, value, found) if name in secret else _member(name, value, in_tool=in_tool, found=found)
        for name, value in members.items()
    }


def _credential(name: str, value: Any, found: _Note) -> Any:
    is_headers = _roles(name)[1] and _holds_headers(value)
    return _headers(value, found) if is_headers else _masked(value, found)


def _is_secret_pair(members: Mapping[str, Any]) -> bool:
    """Return whether the `value` of an object belongs to a pair, such as a header, that is named for a credential."""
    names = [members[one] for one in _PAIRED if isinstance(members.get(one), str)]
    return "domain" in members or any(map(is_credential, names))  # a `domain_secrets` of OpenAI's containers


def _member(name: str, value: Any, *, in_tool: bool, found: _Found) -> Any:
    if name in _LEFT_ALONE:
        return value
    if name in _SCHEMAS and isinstance(value, dict):
        return {one: _property(one, schema, in_tool=in_tool, found=found) for one, schema in value.items()}
    if name == "domain_secrets":
        return _walk(value, name, in_tool=in_tool, found=found)
    is_secret, is_headers = _roles(name[:MAX_NAME])
    if is_headers and _holds_headers(value):
        return _headers(value, found)
    if is_secret:
        return _masked(value, found)
    return _walk(value, name, in_tool=in_tool, found=found)


def _property(name: str, schema: Any, *, in_tool: bool, found: _Found) -> Any:
    """Return a property of a schema. One that is no schema is a member like any other."""
    if isinstance(schema, dict | bool):
        return _walk(schema, "", in_tool=in_tool, found=found)
    return _member(name, schema, in_tool=in_tool, found=found)


def _holds_headers(value: Any) -> bool:
    """Return whether a member holds HTTP headers, and not the titles of a table."""
    if isinstance(value, list):
        return all(isinstance(one, dict) or (isinstance(one, str) and ":" in one) for one in value)
    return isinstance(value, dict)


def _headers(value: Any, found: _Note) -> Any:
    if isinstance(value, list):
        return [_headers(one, found) for one in value]
    if isinstance(value, str):
        name, _, text = value.partition(":")
        return f"{name}: {_masked(text.strip(), found)}"
    paired = "value" in value and any(isinstance(value.get(one), str) for one in _PAIRED)
    kept = _PAIRED if paired else ()
    return {
        name: text if name in kept else _masked(text, _ignore if _plain(name) in _PLAIN_HEADERS else found)
        for name, text in value.items()
    }


def _masked(value: Any, found: _Note) -> Any:
    """Return a value with all its texts and numbers masked, except the `type` of an object."""
    if isinstance(value, dict):
        return {name: one if name == "type" else _masked(one, found) for name, one in value.items()}
    if isinstance(value, list):
        return [_masked(one, found) for one in value]
    if value is None or isinstance(value, bool) or value == "":
        return value
    found(str(value))
    return MASK


# URLs


def _url(text: str, name: str, *, in_tool: bool, found: _Found) -> str:
    """Return a URL without its user, and one of a tool also without the keys in its path and query.

    One that is too long, or has too many parts, is masked as a whole.
    """
    url = _URL.fullmatch(text) if "://" in text else None
    if url is None:
        return text
    is_server = name == "server_url"
    if not (url["user"] or is_server or (in_tool and url["query"])):
        return text
    if len(text) > MAX_URL or not found.has_room(sum(map(text.count, _BETWEEN_PARTS)) - _OF_SCHEME):
        return str(_masked(text, found))
    if url["user"]:
        for one in (url["user"], *url["user"].split(":")):
            found(unquote(one))
    user = f"{MASK}@" if url["user"] else ""
    path = "/".join(_segment(one, found) for one in url["path"].split("/")) if is_server else url["path"]
    query = url["query"] or ""
    if is_server or in_tool:
        query = "&".join(_parameter(one, every=is_server, found=found) for one in query.split("&") if one)
    return f"{url['scheme']}{user}{url['host']}{path}" + (f"?{query}" if query else "")


def _segment(text: str, found: _Note) -> str:
    """Return a segment of the path of an MCP server. Some servers have the credential there."""
    return text if _PLAIN_SEGMENT.fullmatch(text) else str(_masked(unquote(text), found))


def _parameter(text: str, *, every: bool, found: _Note) -> str:
    name, equals, value = text.partition("=")
    if not equals:
        return str(_masked(name, found)) if every else text
    is_secret = every or is_credential(unquote(name)) or _plain(unquote(name)) in _SIGNATURES
    return f"{quote(unquote(name))}={_masked(unquote(value), found)}" if is_secret else text
