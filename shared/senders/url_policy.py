"""The URL policy: where a callback may go, against SSRF. Pure: no name is resolved here.

There are two checks. `check_url` checks the text of a URL, when a response is created and again before each attempt.
`check_addresses` checks the addresses that its name resolved to, when the connection is made. The second one holds even
if the name is changed in between. Both refuse what they do not know: IPv6 outside 2000::/3, odd spellings of IPv4, and
anything that two parsers could read differently. `allow_loopback` is for local use. It permits loopback addresses, and
only for loopback's own host names.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

PORTS = (443, 8443)
MAX_URL_CHARACTERS = 2048
MAX_NAME_CHARACTERS = 253
MAX_ANSWERS = 16

# `ipaddress.is_global` is not used, because its answers change between patch releases of Python.
_REFUSED_IPV4 = tuple(
    IPv4Network(prefix)
    for prefix in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's DNS and host agent, in every region
        "169.254.0.0/16",  # link-local, instance metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relay
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_REFUSED_IPV6 = tuple(
    IPv6Network(prefix)
    for prefix in (
        "2001::/23",  # protocol assignments, Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_LOOPBACK_IPV4 = IPv4Network("127.0.0.0/8")
_LOOPBACK_IPV6 = IPv6Address("::1")

_REFUSED_NAMES = frozenset(
    (
        "localhost",
        "ip6-localhost",
        "ip6-loopback",
        "metadata",
        "metadata.google.internal",
        "metadata.azure.internal",
        "instance-data",
        "kubernetes",
        "wireserver",
        "host.docker.internal",
    )
)
_REFUSED_SUFFIXES = (
    ".localhost",
    ".local",  # .cluster.local too
    ".localdomain",
    ".internal",
    ".azure-internal",
    ".intranet",
    ".lan",
    ".home",
    ".corp",
    ".private",
    ".arpa",  # .home.arpa too
    ".svc",
    ".onion",
    ".test",
    ".invalid",
    ".example",
)

_CHARACTERS = frozenset(map(chr, range(0x21, 0x7F))) - frozenset('<>"^{|}`\\#')
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/]*)(?P<path>/.*)?")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>.*))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")


class CallbackUrlRefused(ValueError):
    """A URL or its address breaks a rule. `code` is for programs. The message shows no address."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.code = f"callback_url_{rule}"


@dataclass(frozen=True)
class CheckedUrl:
    """The parts of a checked URL: scheme, canonical host, port, and path with query."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)  # may hold the receiver's secrets

    @property
    def authority(self) -> str:
        """The value of the Host header: no default port, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.scheme) else f"{host}:{self.port}"


def is_refused(address: Address | str, *, allow_loopback: bool = False) -> bool:
    """Return whether an address must never be dialled. Text that is not a canonical address is also refused."""
    try:
        number = ip_address(address)
    except ValueError:
        return True
    if isinstance(number, IPv6Address) and number.scope_id is not None:
        return True
    number = _unmapped(number)
    return not (allow_loopback and _is_loopback(number)) and _is_in_refused_prefix(number)


def is_address(host: str) -> bool:
    """Return whether a host is an address, so that there is no name to resolve."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def check_addresses(
    host: str, answers: Sequence[str], *, refused_hosts: Collection[str] = (), allow_loopback: bool = False
) -> Sequence[str]:
    """Return the addresses that the name `host` resolved to, unchanged.

    Raises CallbackUrlRefused if one of them must not be dialled, or if there are more than 16. `refused_hosts` are
    written as in `check_url`.
    """
    local = allow_loopback and _is_local(host)
    if len(answers) > MAX_ANSWERS:
        raise _address_refused()
    if any(is_refused(answer, allow_loopback=local) or _is_listed(answer, refused_hosts) for answer in answers):
        raise _address_refused()
    return answers


def check_url(
    url: str,
    *,
    hosts: Collection[str] = (),
    refused_hosts: Collection[str] = (),
    ports: Collection[int] = PORTS,
    allow_loopback: bool = False,
) -> CheckedUrl:
    """Return the parts of a URL. Raises CallbackUrlRefused if it breaks a rule.

    `hosts` is the caller's allow-list: exact names, or `*.sub`, which does not include `sub` itself. An empty list
    allows every public host. `refused_hosts` are written the same way, and refused whatever the allow-list says. With
    `allow_loopback`, `localhost` and loopback addresses may be called over http and on any port.
    """
    checked = _parse(url)
    if not (allow_loopback and _is_local(checked.host)):
        _check_public(checked, ports)
    if _is_listed(checked.host, refused_hosts) or (hosts and not _is_listed(checked.host, hosts)):
        raise _host_denied()
    return checked


def _check_public(url: CheckedUrl, ports: Collection[int]) -> None:
    if url.scheme != "https":
        raise CallbackUrlRefused("scheme", "The callback URL must start with https://.")
    if url.port not in ports:
        raise CallbackUrlRefused("port", f"The port must be {' or '.join(map(str, sorted(ports)))}.")
    if is_address(url.host):
        if is_refused(url.host):
            raise _address_refused()
    elif url.host in _REFUSED_NAMES or f".{url.host}".endswith(_REFUSED_SUFFIXES):
        raise _host_denied()
    elif "." not in url.host:
        raise _malformed("The host must be a full name of at least two parts.")


def _parse(url: str) -> CheckedUrl:
    if len(url) > MAX_URL_CHARACTERS:
        raise _malformed(f"The callback URL must not be longer than {MAX_URL_CHARACTERS} characters.")
    if not _CHARACTERS.issuperset(url):
        raise _malformed("The callback URL contains a character that is not allowed; encode it.")
    match = _URL.fullmatch(url)
    if not match or match["scheme"] not in {"http", "https"}:
        raise CallbackUrlRefused("scheme", "The callback URL must start with https://.")
    host, port = _split(match["authority"])
    return CheckedUrl(match["scheme"], _host(host), _port(match["scheme"], port), match["path"] or "/")


def _split(authority: str) -> tuple[str, str | None]:
    if "?" in authority:
        raise _malformed("The callback URL must have a path before its query, at least a slash.")
    match = _AUTHORITY.fullmatch(authority)
    if not match or "@" in authority or "%" in authority:
        raise _malformed("The callback URL must be https://host, :port where needed, and a path.")
    return match["host"], match["port"]


def _port(scheme: str, text: str | None) -> int:
    if text is None:
        return _default_port(scheme)
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise CallbackUrlRefused("port", "The port must be a number from 1 to 65535.")
    return int(text)


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _host(text: str) -> str:
    if text.startswith("["):
        return _ipv6_literal(text[1:-1])
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        return _ipv4_literal(name)
    if len(name) > MAX_NAME_CHARACTERS or not all(map(_LABEL.fullmatch, labels)):
        raise _malformed("The host must be a name in ASCII letters, digits, hyphens and full stops.")
    return name


def _ipv4_literal(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise _address_refused() from None


def _ipv6_literal(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise _malformed("The host in brackets must be an IPv6 address.") from None
    if address.ipv4_mapped:
        raise _address_refused()
    return str(address)


def _unmapped(number: Address) -> Address:
    return (number.ipv4_mapped or number) if isinstance(number, IPv6Address) else number


def _is_in_refused_prefix(number: Address) -> bool:
    if isinstance(number, IPv4Address):
        return any(number in prefix for prefix in _REFUSED_IPV4)
    return number not in _GLOBAL_IPV6 or any(number in prefix for prefix in _REFUSED_IPV6)


def _is_loopback(number: Address) -> bool:
    return number in _LOOPBACK_IPV4 if isinstance(number, IPv4Address) else number == _LOOPBACK_IPV6


def _is_local(host: str) -> bool:
    return host == "localhost" or (is_address(host) and _is_loopback(ip_address(host)))


def _is_listed(host: str, patterns: Collection[str]) -> bool:
    """Return whether a list contains a host, in any spelling of its name or address."""
    name = _plain(host)
    return any(
        name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:]))
        for pattern in map(_plain, patterns)
    )


def _plain(host: str) -> str:
    text = host.lower().removesuffix(".").removeprefix("[").removesuffix("]")
    return str(_unmapped(ip_address(text))) if is_address(text) else text


def _malformed(message: str) -> CallbackUrlRefused:
    return CallbackUrlRefused("parse", message)


def _host_denied() -> CallbackUrlRefused:
    return CallbackUrlRefused("host_denied", "Callbacks to this host are not allowed.")


def _address_refused() -> CallbackUrlRefused:
    return CallbackUrlRefused("address", "The address must be a public one in its standard form.")
