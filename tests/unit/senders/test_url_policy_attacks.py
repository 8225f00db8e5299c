"""Attacks on the URL check and on the address check, beyond the examples of the rules."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.senders.url_policy import CallbackUrlRefused, check_addresses, check_url, is_refused

SAMPLES = (Path(__file__).parent / "callback_urls.jsonl").read_text().splitlines()


def refusal_of(url: str, **rules: Any) -> CallbackUrlRefused:
    """Return the error with which `check_url` refuses a URL."""
    with pytest.raises(CallbackUrlRefused) as refusal:
        check_url(url, **rules)
    return refusal.value


def test_the_samples_are_complete() -> None:
    """There are 120 samples of all layers. A sample is allowed only if no layer refuses it."""
    samples = [json.loads(line) for line in SAMPLES]
    layers = Counter(sample["layer"] for sample in samples)
    assert len(set(SAMPLES)) == 120
    assert set(layers) == {"ok", "scheme", "parse", "port", "name", "ip", "dns", "redirect"}
    assert all((sample["verdict"] == "allow") == (sample["layer"] in ("ok", "redirect")) for sample in samples)


# Hosts


@pytest.mark.parametrize(
    "host",
    [
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "\uff11\uff12\uff17.0.0.1",
        "loc\u00adalhost",
        "ⓛocalhost",
        "hooks.contoso.com\u2024evil.org",
        "hooks\u200b.contoso.com",
        "hooks.contoso.com\x00.evil.org",
        "bücher.example.com",
        "hooks.contoso.com%2eevil.org",
        "hooks.contoso.com%00",
        "hooks.contoso.com\\.evil.org",
        "hooks.contoso.com\t",
        "hooks.contoso.com\r\nX-Evil:1",
        "user:pass@hooks.contoso.com",
        "@hooks.contoso.com",
        "hooks.contoso.com@",
        "hooks.contoso.com:443@evil.org",
        "hooks.contoso.com?@evil.org",
        "hooks.contoso.com;evil.org",
        "hooks.contoso.com,evil.org",
        "hooks.contoso.com&evil.org",
        ".hooks.contoso.com",
        "hooks.contoso.com..",
        "hooks..contoso.com",
        "-hooks.contoso.com",
        "[2606:4700::1%25eth0]",
        "[2606:4700::1%eth0]",
        "[2606:4700::1",
        "[[2606:4700::1]]",
        "[2606:4700::1].",
        "[v1.fe80::1]",
        "[hooks.contoso.com]",
        "[]",
        "",
    ],
)
def test_a_host_that_two_parsers_could_read_differently_is_refused(host: str) -> None:
    """Other alphabets, invisible characters, escapes, users, zones and broken brackets are refused, not corrected."""
    assert refusal_of(f"https://{host}/cb").code in {"callback_url_parse", "callback_url_port"}


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0x7f000001", "0X7F000001", "017700000001", "127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1"),
        *("127.0.0.1", "127.0.0.1.", "127.0.0.01", "0", "0.0.0.0", "00000000000", "4294967296", "1.2.3.4.5", "1.2.3"),
        *("256.256.256.256", "hooks.contoso.0x", "hooks.contoso.0x7f", "hooks.contoso.1", "9" * 1900),
        *("[::]", "[::1]", "[::ffff:93.184.216.34]", "[::93.184.216.34]", "[64:ff9b::5db8:d822]", "[fe80::1]"),
        *("2606:4700::1", "[::ffff:0:93.184.216.34]", "[2002:7f00:1::]", "[2001:0:5db8:d822::1]", "[0:0:0:0:0:0:0:1]"),
    ],
    ids=lambda host: host[:40],
)
def test_an_address_in_an_odd_spelling_is_refused(host: str) -> None:
    """Text that the C library would read as an address must be a public address in its standard form."""
    assert refusal_of(f"https://{host}/cb").code == "callback_url_address"


@pytest.mark.parametrize("host", ["LOCALHOST", "LocalHost.", "METADATA.google.Internal.", "a.B.LOCAL", "wireServer"])
def test_no_spelling_of_a_refused_name_passes(host: str) -> None:
    """Case and a trailing dot change nothing."""
    assert refusal_of(f"https://{host}/").code == "callback_url_host_denied"


@pytest.mark.parametrize(
    "port", ["", "+443", "-443", " 443", "443 ", "4_43", "0x1bb", "٤٤٣", "443443", "65536", "443:443"]
)
def test_a_port_is_plain_digits(port: str) -> None:
    """Other text that a number parser would accept is refused."""
    assert refusal_of(f"https://hooks.contoso.com:{port}/").code in {"callback_url_port", "callback_url_parse"}


@pytest.mark.parametrize(
    "url", ["https://a.co?x=1", "https://a.co:443?x=1", "https://a.co?", "https://[2606:4700::1]?x"]
)
def test_a_query_without_a_path_has_its_own_message(url: str) -> None:
    """The message for a URL that has a query but no path says that the path is missing."""
    refusal = refusal_of(url)
    assert refusal.code == "callback_url_parse"
    assert str(refusal) == "The callback URL must have a path before its query, at least a slash."


# What is sent


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=60))
def test_a_url_cannot_end_a_line_or_a_header(text: str) -> None:
    """Target and Host are visible ASCII without a space, so no URL adds a header or a request."""
    for url in (f"https://hooks.contoso.com/{text}", f"https://{text}.contoso.com/"):
        try:
            target = check_url(url)
        except CallbackUrlRefused:
            continue
        assert all("\x20" < character < "\x7f" for character in target.path + target.authority)


@pytest.mark.parametrize(
    "url", ["h" * 10**6, "https://" + "a." * 10**6, "https://[" + ":" * 10**6, "https://a.co/" + "x" * 10**7]
)
def test_a_huge_url_is_refused_before_it_is_parsed(url: str) -> None:
    """The length of a URL is checked first."""
    assert refusal_of(url).code == "callback_url_parse"


# Answers of name servers


@pytest.mark.parametrize(
    "answer",
    [
        *("2606:4700::1%1", "2606:4700::1%eth0", "fe80::1%2", "[2606:4700::1]", "2606:4700::1/64"),
        *("1572395042", "0x5db8d822", "93.184.55330", "93.184.216.034", "93.184.216.34 ", " 93.184.216.34"),
        *("93.184.216.34\n", "93.184.216.34\x00", "93.184.216.34:443", "\uff193.184.216.34", "", "hooks.contoso.com"),
    ],
)
def test_an_answer_that_is_not_a_plain_address_is_refused(answer: str) -> None:
    """An answer of the resolver with anything beside an address is refused, even if that address is public."""
    assert is_refused(answer)
    with pytest.raises(CallbackUrlRefused):
        check_addresses("hooks.contoso.com", ["93.184.216.34", answer])


OWN = ["20.50.2.1", "2603:1030:7:0::5", "API.contoso.com.", "[2603:1030:7::6]"]


@pytest.mark.parametrize(
    "answer",
    [
        *("20.50.2.1", "::ffff:20.50.2.1", "::ffff:1432:201", "0:0:0:0:0:FFFF:1432:0201"),
        *("2603:1030:7::5", "2603:1030:0007:0000:0000:0000:0000:0005", "2603:1030:7:0:0:0:0.0.0.5", "2603:1030:7::6"),
        *("64:ff9b::1432:201", "64:ff9b:1::1432:201", "2002:1432:201::", "2001:0:1432:201::", "::20.50.2.1"),
    ],
)
def test_a_refused_address_is_refused_in_every_spelling(answer: str) -> None:
    """Our own endpoints are refused also as mapped, expanded or translated addresses."""
    with pytest.raises(CallbackUrlRefused):
        check_addresses("alias.fabrikam.com", [answer], refused_hosts=OWN)
    assert refusal_of(f"https://[{answer}]/" if ":" in answer else f"https://{answer}/", refused_hosts=OWN)


@pytest.mark.parametrize("host", ["api.contoso.com", "API.CONTOSO.COM."])
def test_a_refused_name_may_be_written_with_a_trailing_dot(host: str) -> None:
    """An entry of the list is read as a host in a URL is."""
    assert refusal_of(f"https://{host}/", refused_hosts=OWN).code == "callback_url_host_denied"


def test_the_neighbour_of_a_refused_address_is_allowed() -> None:
    """The list names hosts, not networks."""
    answers = ["20.50.2.2", "2603:1030:7::7"]
    assert check_addresses("alias.fabrikam.com", answers, refused_hosts=OWN) == answers


@pytest.mark.parametrize("entry", ["2606:4700:0::1", "[2606:4700::1]", "2606:4700::0001"])
def test_an_allow_list_may_use_any_spelling_of_an_address(entry: str) -> None:
    """Two spellings of one address are the same host."""
    assert check_url("https://[2606:4700::1]/", hosts=[entry]).host == "2606:4700::1"
