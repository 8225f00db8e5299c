"""Where callbacks may go: every refused prefix at its edges, every sample URL, and every rule of the URL check."""

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.senders.url_policy import CallbackUrlRefused, CheckedUrl, check_addresses, check_url, is_refused

SAMPLES: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "callback_urls.jsonl").read_text().splitlines()
]
ALLOWED_LAYERS = {"ok", "redirect"}
# The layer that decides a sample, and the codes that `check_url` may give. A URL can break several rules at once.
CODES = {
    "scheme": {"callback_url_scheme", "callback_url_parse"},
    "parse": {"callback_url_parse", "callback_url_scheme", "callback_url_port"},
    "port": {"callback_url_port", "callback_url_parse"},
    "name": {"callback_url_host_denied"},
    "ip": {"callback_url_address", "callback_url_parse", "callback_url_port"},
}

REFUSED_PREFIXES = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4
240.0.0.0/4 2001::/23 2001:db8::/32 2002::/16 3fff::/20
"""
REFUSED_NETWORKS = [ip_network(prefix) for prefix in REFUSED_PREFIXES.split()]


def code_of(url: str, **rules: Any) -> str:
    """Return the code with which `check_url` refuses a URL."""
    with pytest.raises(CallbackUrlRefused) as refusal:
        check_url(url, **rules)
    return refusal.value.code


def is_in_a_refused_network(address: IPv4Address | IPv6Address) -> bool:
    """Return whether one of the twenty prefixes above contains an address."""
    return any(address.version == network.version and address in network for network in REFUSED_NETWORKS)


@pytest.mark.parametrize("network", REFUSED_NETWORKS, ids=str)
def test_a_refused_prefix_ends_exactly_at_its_edges(network: IPv4Network | IPv6Network) -> None:
    """The first and last address of a prefix are refused. Their outer neighbours are judged by their own network."""
    assert is_refused(network[0])
    assert is_refused(network[-1])
    for number in (int(network[0]) - 1, int(network[-1]) + 1):
        if 0 <= number < 2**network.max_prefixlen:
            neighbour = type(network[0])(number)
            outside = neighbour.version == 6 and neighbour not in IPv6Network("2000::/3")
            assert is_refused(neighbour) == (is_in_a_refused_network(neighbour) or outside)


def test_global_ipv6_ends_exactly_at_its_edges() -> None:
    """2000::/3 is allowed from its first address to its last, and nothing beside it is."""
    assert not is_refused("2000::")
    assert not is_refused("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    assert is_refused("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    assert is_refused("4000::")


@pytest.mark.parametrize("address", ["::", "::1", "64:ff9b::1", "5f00::1", "fc00::1", "fe80::1", "fec0::1", "ff02::1"])
def test_ipv6_outside_the_global_range_is_refused(address: str) -> None:
    """Loopback, NAT64, unique-local, link-local, site-local and multicast addresses need no separate rule."""
    assert is_refused(address)


@given(st.integers(0, 2**32 - 1))
def test_a_mapped_address_is_judged_as_its_ipv4_address(number: int) -> None:
    """An IPv4 address in its IPv6 form has the same verdict."""
    assert is_refused(IPv6Address((0xFFFF << 32) + number)) == is_refused(IPv4Address(number))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_refused_inside_the_prefixes_only(address: IPv4Address) -> None:
    """An address outside all prefixes is public."""
    assert is_refused(address) == is_in_a_refused_network(address)


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f.0.0.1", "8.8.8.08", "2606:4700::1%eth0", "8.8.8.8/32"]
)
def test_text_that_is_not_a_plain_address_is_refused(text: str) -> None:
    """Names, odd spellings, zones and networks are not dialled."""
    assert is_refused(text)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_allowed_by_the_local_setting_only(address: str) -> None:
    """The local setting allows loopback in every spelling."""
    assert is_refused(address)
    assert not is_refused(address, allow_loopback=True)


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16", "10.0.0.1", "0.0.0.0", "::", "fe80::1"])
def test_the_local_setting_allows_nothing_but_loopback(address: str) -> None:
    """Metadata endpoints, the platform and private ranges are refused on a laptop, too."""
    assert is_refused(address, allow_loopback=True)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: ascii(sample["url"])[:60])
def test_every_sample_url_has_its_verdict(sample: dict[str, Any]) -> None:
    """`check_url` and `check_addresses` decide each sample in the layer that it names."""
    if sample["layer"] in CODES:
        assert code_of(sample["url"]) in CODES[sample["layer"]]
        return
    host = check_url(sample["url"]).host
    answers = sample["dns"] or [host]
    if sample["layer"] in ALLOWED_LAYERS:
        assert check_addresses(host, answers) == answers
    else:
        with pytest.raises(CallbackUrlRefused) as refusal:
            check_addresses(host, answers)
        assert refusal.value.code == "callback_url_address"


NUMBERS = [sample for sample in SAMPLES if sample["layer"] in {"ip", "dns"}]


@pytest.mark.parametrize("sample", NUMBERS, ids=lambda sample: sample["url"][:60])
def test_the_address_check_works_without_the_url_check(sample: dict[str, Any]) -> None:
    """Without `check_url`, the addresses alone are refused, for any scheme and port."""
    host = urlsplit(sample["url"]).netloc.strip("[]")
    with pytest.raises(CallbackUrlRefused):
        check_addresses(host, sample["dns"] or [host])


def test_more_than_sixteen_addresses_are_refused() -> None:
    """A name with too many addresses is refused as a whole."""
    answers = [f"93.184.0.{number}" for number in range(17)]
    assert check_addresses("hooks.contoso.com", answers[:16]) == answers[:16]
    with pytest.raises(CallbackUrlRefused):
        check_addresses("hooks.contoso.com", answers)


def test_a_public_name_must_not_resolve_to_loopback() -> None:
    """Even with the local setting, only loopback's own host names may resolve to it."""
    assert check_addresses("localhost", ["127.0.0.1", "::1"], allow_loopback=True)
    with pytest.raises(CallbackUrlRefused):
        check_addresses("hooks.contoso.com", ["127.0.0.1"], allow_loopback=True)


def test_a_refused_host_is_refused_by_name_and_by_address() -> None:
    """The deployment's own names and endpoints cannot be reached in any spelling."""
    own = {"*.contoso.com", "20.50.2.1"}
    assert code_of("https://API.contoso.com/", refused_hosts=own) == "callback_url_host_denied"
    assert code_of("https://20.50.2.1/", refused_hosts=own) == "callback_url_host_denied"
    with pytest.raises(CallbackUrlRefused):
        check_addresses("alias.example.org", ["20.50.2.1"], refused_hosts=own)


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://Hooks.Contoso.COM", CheckedUrl("https", "hooks.contoso.com", 443, "/"), "hooks.contoso.com"),
        ("https://a.co./x?y=1", CheckedUrl("https", "a.co", 443, "/x?y=1"), "a.co"),
        ("https://a.co:8443/", CheckedUrl("https", "a.co", 8443, "/"), "a.co:8443"),
        ("https://a.co:443/", CheckedUrl("https", "a.co", 443, "/"), "a.co"),
        ("https://xn--bcher-kva.co/", CheckedUrl("https", "xn--bcher-kva.co", 443, "/"), "xn--bcher-kva.co"),
        ("https://my_app.a.co/", CheckedUrl("https", "my_app.a.co", 443, "/"), "my_app.a.co"),
        ("https://8.8.8.8./", CheckedUrl("https", "8.8.8.8", 443, "/"), "8.8.8.8"),
        ("https://[2606:4700:0::1]:8443/", CheckedUrl("https", "2606:4700::1", 8443, "/"), "[2606:4700::1]:8443"),
    ],
)
def test_a_checked_url_is_canonical(url: str, target: CheckedUrl, authority: str) -> None:
    """The host is in lower case without its trailing dot, the port is filled in, and path and query are unchanged."""
    assert check_url(url) == target
    assert target.authority == authority


GATE = {
    "callback_url_scheme": "x https HTTPS://a.co/ http://a.co/ javascript://a.co/",
    "callback_url_parse": (
        "https://a.co?x=1 https://a.co:443?x/ https://a.co;x/ https://a.co/#x https://a.co/\x7f https://a.co/` "
        "https://a.co/{x} https://user@a.co/ https://a.co../ https://a..co/ https://a-.co/ https://single/ "
        f"https://[8.8.8.8]/ https://{'a' * 64}.co/ https://[2606:4700::1]x/ https://[2606:4700::1%eth0]/"
    ),
    "callback_url_address": "https://[::ffff:8.8.8.8]/ https://8.8.8.08/ https://a.0x1/",
    "callback_url_port": "https://a.co:/ https://a.co:0/ https://a.co:0443/ https://a.co:80/ https://a.co:443;x/",
    "callback_url_host_denied": (
        "https://metadata.azure.internal/ https://x.svc.cluster.local/ https://x.home.arpa/ https://X.Onion./"
    ),
}


@pytest.mark.parametrize(("url", "code"), [(url, code) for code, urls in GATE.items() for url in urls.split()])
def test_each_rule_of_the_url_check_has_its_code(url: str, code: str) -> None:
    """The code tells a caller's program which part of the URL to change."""
    assert code_of(url) == code


def test_an_empty_url_is_refused() -> None:
    """An empty text is not a URL."""
    assert code_of("") == "callback_url_scheme"


def test_a_url_has_a_maximum_length() -> None:
    """2048 characters are accepted, one more is not."""
    assert check_url("https://a.co/".ljust(2048, "x")).host == "a.co"
    assert code_of("https://a.co/".ljust(2049, "x")) == "callback_url_parse"


def test_a_name_has_a_maximum_length() -> None:
    """253 characters are a name, 254 are not."""
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert check_url(f"https://{name}/").host == name
    assert code_of(f"https://{name}b/") == "callback_url_parse"


def test_the_allowed_ports_are_a_setting() -> None:
    """A deployment may allow other ports. The error names the allowed ones."""
    assert check_url("https://a.co:9000/", ports=[9000]).port == 9000
    with pytest.raises(CallbackUrlRefused, match="443 or 8443"):
        check_url("https://a.co:9000/")


ALLOW_LIST = ["Hooks.Contoso.com", "*.fabrikam.com"]


@pytest.mark.parametrize("host", ["hooks.contoso.com", "HOOKS.contoso.com.", "a.fabrikam.com", "b.a.fabrikam.com"])
def test_an_allow_list_names_hosts_or_everything_below_one(host: str) -> None:
    """An exact entry is that host in any spelling. `*.sub` is every name below `sub`."""
    assert check_url(f"https://{host}/", hosts=ALLOW_LIST)


@pytest.mark.parametrize(
    "host",
    ["fabrikam.com", "evilfabrikam.com", "hooks.contoso.com.evil.org", "a.hooks.contoso.com", "8.8.8.8"],
)
def test_an_allow_list_refuses_all_other_hosts(host: str) -> None:
    """`sub` itself, and a name that only begins or ends like an entry, are not on the list."""
    assert code_of(f"https://{host}/", hosts=ALLOW_LIST) == "callback_url_host_denied"


def test_an_allow_list_does_not_allow_a_refused_address() -> None:
    """The list only narrows the choice. It cannot allow a private address or a refused name."""
    assert code_of("https://10.0.0.1/", hosts=["10.0.0.1"]) == "callback_url_address"
    assert code_of("https://vault.internal/", hosts=["*.internal"]) == "callback_url_host_denied"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "[::1]", "localhost", "LOCALHOST."])
def test_the_local_setting_allows_http_and_any_port_on_loopback(host: str) -> None:
    """A loopback receiver on a laptop needs no certificate. Without the setting it is refused."""
    target = check_url(f"http://{host}:5000/cb", allow_loopback=True)
    assert (target.scheme, target.port) == ("http", 5000)
    assert check_url(f"http://{host}/", allow_loopback=True).port == 80
    assert code_of(f"http://{host}:5000/cb") == "callback_url_scheme"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://hooks.contoso.com/", "callback_url_scheme"),
        ("https://hooks.contoso.com:5000/", "callback_url_port"),
        ("http://127.1/", "callback_url_address"),
        ("https://foo.localhost/", "callback_url_host_denied"),
        ("https://10.0.0.1/", "callback_url_address"),
        ("ftp://127.0.0.1/", "callback_url_scheme"),
    ],
)
def test_the_local_setting_keeps_all_rules_for_other_hosts(url: str, code: str) -> None:
    """The setting applies only to loopback's own hosts."""
    assert code_of(url, allow_loopback=True) == code


@given(st.text(max_size=80) | st.from_regex(r"https://[ -~]{0,60}", fullmatch=True))
def test_any_text_is_a_target_or_refused(url: str) -> None:
    """Any text gives a target with an allowed port and an absolute path, or is refused."""
    try:
        target = check_url(url)
    except CallbackUrlRefused:
        return
    assert target.port in {443, 8443}
    assert target.path.startswith("/")
    assert urlsplit(url).hostname is not None


def test_the_repr_of_a_target_does_not_show_its_path() -> None:
    """A path may contain the receiver's secret."""
    assert "secret" not in repr(check_url("https://a.co/secret?key=secret"))


def test_a_refusal_does_not_repeat_the_address() -> None:
    """The message names the rule, so it does not reveal the network."""
    with pytest.raises(CallbackUrlRefused, match=r"^[^0-9]+$"):
        check_url("https://10.0.0.1/")
