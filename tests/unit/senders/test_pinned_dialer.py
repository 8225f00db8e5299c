"""Where the sender connects, over a network in which every public address leads to one loopback server."""

import asyncio
import socket
import ssl
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpcore
import pytest

from shared.core.outcomes import Answer, SendError
from shared.senders.callbacks import CallbackSender
from shared.senders.pinned_dialer import PinnedDialer, Resolve, absolute, system_resolve
from tests.support.callback_receivers import Certificate, Detour, Receiver, Script, reply

BODY = b"{}"
FIELDS = {"webhook-id": "wh_1"}
PUBLIC = ["93.184.216.34", "93.184.216.35", "93.184.216.36", "93.184.216.37"]
NAME_URL = "https://hooks.contoso.com/cb"
OTHER_URL = "https://other.contoso.com/cb"


def answering(*rounds: list[str]) -> tuple[Resolve, list[str]]:
    """Return a resolver that gives one list of addresses after the other, and the list of names that it resolved."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return rounds[min(len(asked), len(rounds)) - 1]

    return resolve, asked


def post_over(
    resolve: Resolve,
    *urls: str,
    tls: Certificate | None = None,
    script: Script = reply(200),  # noqa: B008 - a constant
    **roads: Any,
) -> tuple[list[Answer], Detour, Receiver]:
    """Post to each URL in turn. Return the answers, the network with the addresses dialled, and the receiver."""

    async def scenario() -> tuple[list[Answer], Detour, Receiver]:
        async with Receiver(script, tls.server if tls else None) as receiver:
            detour = Detour(receiver.port, **roads)
            context = tls.client if tls else ssl.create_default_context()
            async with aclosing(CallbackSender(resolve=resolve, dialer=detour, ssl_context=context)) as sender:
                return [await sender.post(url, FIELDS, BODY) for url in urls], detour, receiver

    return asyncio.run(scenario())


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """Return a certificate for the names in NAME_URL and OTHER_URL."""
    return Certificate(tmp_path, "hooks.contoso.com", "other.contoso.com")


def test_the_name_stays_in_tls_and_host(certificate: Certificate) -> None:
    """An address is dialled, but certificate, SNI and Host have the name in the URL."""
    resolve, _ = answering(PUBLIC[:1])
    answers, detour, receiver = post_over(resolve, NAME_URL, tls=certificate)
    assert (answers[0].status, detour.dialled) == (200, PUBLIC[:1])
    assert certificate.asked_for == ["hooks.contoso.com"]
    assert receiver.requests[0].headers["host"] == "hooks.contoso.com"


def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    """The certificate must be for the name in the URL. One for the address that was dialled is not enough."""
    resolve, _ = answering(PUBLIC[:1])
    answers, _, receiver = post_over(resolve, NAME_URL, tls=Certificate(tmp_path, "other.contoso.com", PUBLIC[0]))
    assert answers[0].error is SendError.TLS
    assert receiver.requests == []


def test_an_unknown_authority_is_refused(certificate: Certificate) -> None:
    """A certificate that no trusted authority has signed ends the attempt."""
    certificate.client = ssl.create_default_context()
    answers, _, receiver = post_over(answering(PUBLIC[:1])[0], NAME_URL, tls=certificate)
    assert answers[0].error is SendError.TLS
    assert receiver.requests == []


def test_tls_is_verified_by_default() -> None:
    """By default certificates and names are checked, and TLS older than 1.2 is refused."""
    context = CallbackSender().ssl_context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    "answers",
    [
        ["10.0.0.1"],
        ["127.0.0.1"],
        ["168.63.129.16"],
        [PUBLIC[0], "fd00::5"],
        [f"93.184.0.{n}" for n in range(17)],
    ],
    ids=["private", "loopback", "platform", "mixed", "crowd"],
)
def test_a_name_with_a_refused_address_is_never_dialled(answers: list[str]) -> None:
    """If one address is refused, or there are too many of them, nothing is dialled."""
    (answer,), detour, _ = post_over(answering(answers)[0], NAME_URL)
    assert answer.error is SendError.ADDRESS_REFUSED
    assert detour.dialled == []


def test_dns_rebinding_is_refused(certificate: Certificate) -> None:
    """A connection resolves its name once and dials only the checked addresses. A private address is never dialled."""
    resolve, asked = answering(PUBLIC[:1], ["169.254.169.254"])
    closing = reply(200, "connection: close")
    (first, second), detour, _ = post_over(resolve, NAME_URL, NAME_URL, tls=certificate, script=closing)
    assert (first.status, second.error) == (200, SendError.ADDRESS_REFUSED)
    assert detour.dialled == PUBLIC[:1]
    assert len(asked) == 2


def test_a_connection_is_reused_for_its_own_name_only(certificate: Certificate) -> None:
    """A second callback soon after reuses the connection.

    Another name with the same address gets its own connection.
    """
    resolve, asked = answering(PUBLIC[:1])
    answers, detour, receiver = post_over(resolve, NAME_URL, NAME_URL, OTHER_URL, tls=certificate)
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert (len(receiver.requests), receiver.connections) == (3, 2)
    assert asked == certificate.asked_for == ["hooks.contoso.com", "other.contoso.com"]
    assert detour.dialled == [PUBLIC[0], PUBLIC[0]]


def test_at_most_three_addresses_are_dialled() -> None:
    """If an address does not accept a connection, the next one is dialled, up to the third.

    The fourth is not dialled.
    """
    (answer,), detour, _ = post_over(answering(PUBLIC)[0], NAME_URL, dead=tuple(PUBLIC))
    assert answer.error is SendError.CONNECT
    assert detour.dialled == PUBLIC[:3]


def test_the_next_address_is_dialled_after_a_dead_one(certificate: Certificate) -> None:
    """A dead address among several does not fail the attempt."""
    (answer,), detour, _ = post_over(answering(PUBLIC)[0], NAME_URL, tls=certificate, dead=(PUBLIC[0],))
    assert answer.status == 200
    assert detour.dialled == PUBLIC[:2]


def test_a_peer_with_another_address_is_refused(certificate: Certificate) -> None:
    """A network that leads to another peer is detected before anything is sent."""
    (answer,), _, receiver = post_over(answering(PUBLIC[:1])[0], NAME_URL, tls=certificate, exposed=True)
    assert answer.error is SendError.CONNECT
    assert receiver.requests == []


async def no_such_name(host: str, _port: int) -> list[str]:
    """Raise the system's error for a name that does not exist."""
    raise socket.gaierror(socket.EAI_NONAME, host)


async def slow_name_server(_host: str, _port: int) -> list[str]:
    """Wait forever, as for a name server that does not answer."""
    await asyncio.Event().wait()
    return []


@pytest.mark.parametrize("resolve", [answering([])[0], no_such_name, slow_name_server])
def test_a_name_without_an_address_is_a_dns_error(resolve: Resolve) -> None:
    """No addresses, a name that does not exist and a name server that does not answer give the same error."""
    sender = CallbackSender(resolve=resolve, resolve_s=0.1)
    assert asyncio.run(sender.post(NAME_URL, FIELDS, BODY)).error is SendError.DNS


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://hooks.contoso.com/", SendError.URL_REFUSED),
        ("http://127.0.0.1:80/", SendError.URL_REFUSED),
        ("https://10.0.0.1/", SendError.ADDRESS_REFUSED),
        ("https://own.contoso.com/", SendError.URL_REFUSED),
        ("not a url", SendError.URL_REFUSED),
    ],
)
def test_the_url_is_checked_before_every_attempt(url: str, error: SendError) -> None:
    """A URL that breaks the current rules is not even resolved."""
    resolve, asked = answering(PUBLIC)
    sender = CallbackSender(resolve=resolve, refused_hosts={"own.contoso.com"})
    assert asyncio.run(sender.post(url, FIELDS, BODY)).error is error
    assert asked == []


def test_the_local_setting_does_not_allow_a_public_name() -> None:
    """With loopback allowed, a public name that resolves to it is still refused."""
    sender = CallbackSender(allow_loopback=True, resolve=answering(["127.0.0.1"])[0])
    assert asyncio.run(sender.post(NAME_URL, FIELDS, BODY)).error is SendError.ADDRESS_REFUSED


def test_unix_sockets_are_refused() -> None:
    """No URL leads to a Unix socket."""
    with pytest.raises(httpcore.ConnectError):
        asyncio.run(PinnedDialer(system_resolve(1)).connect_unix_socket("/var/run/docker.sock"))


@pytest.mark.parametrize(("host", "name"), [("hooks.contoso.com", "hooks.contoso.com."), ("localhost", "localhost")])
def test_a_full_name_is_looked_up_as_it_is(host: str, name: str) -> None:
    """This machine's search domains are not tried for a full name."""
    assert absolute(host) == name


def test_the_systems_resolver_returns_each_address_once() -> None:
    """The default resolver returns plain addresses without repeats."""

    async def scenario() -> list[str]:
        return await system_resolve(1)("localhost", 443)

    answers = asyncio.run(scenario())
    assert set(answers) <= {"127.0.0.1", "::1"}
    assert len(answers) == len(set(answers)) > 0
