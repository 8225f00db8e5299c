"""Where the sender connects, over a network in which every public number leads to one loopback server."""

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
    """Return a resolver that gives one round of answers after the other, and the names it was asked for."""
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
    """Post to each URL in turn and return the answers, the numbers dialled and what the receiver saw."""

    async def scenario() -> tuple[list[Answer], Detour, Receiver]:
        async with Receiver(script, tls.server if tls else None) as receiver:
            detour = Detour(receiver.port, **roads)
            context = tls.client if tls else ssl.create_default_context()
            async with aclosing(CallbackSender(resolve=resolve, dialer=detour, ssl_context=context)) as sender:
                return [await sender.post(url, FIELDS, BODY) for url in urls], detour, receiver

    return asyncio.run(scenario())


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """Return a certificate of the names in NAME_URL and OTHER_URL."""
    return Certificate(tmp_path, "hooks.contoso.com", "other.contoso.com")


def test_the_name_stays_in_tls_and_host(certificate: Certificate) -> None:
    """A number is dialled, but certificate, SNI and Host are those of the URL's name."""
    resolve, _ = answering(PUBLIC[:1])
    answers, detour, receiver = post_over(resolve, NAME_URL, tls=certificate)
    assert (answers[0].status, detour.dialled) == (200, PUBLIC[:1])
    assert certificate.asked_for == ["hooks.contoso.com"]
    assert receiver.requests[0].headers["host"] == "hooks.contoso.com"


def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    """The certificate must be for the URL's name; one for the number dialled does not do."""
    resolve, _ = answering(PUBLIC[:1])
    answers, _, receiver = post_over(resolve, NAME_URL, tls=Certificate(tmp_path, "other.contoso.com", PUBLIC[0]))
    assert answers[0].error is SendError.TLS
    assert receiver.requests == []


def test_an_unknown_authority_is_refused(certificate: Certificate) -> None:
    """A certificate that nobody we trust has signed ends the attempt."""
    certificate.client = ssl.create_default_context()
    answers, _, receiver = post_over(answering(PUBLIC[:1])[0], NAME_URL, tls=certificate)
    assert answers[0].error is SendError.TLS
    assert receiver.requests == []


def test_tls_is_verified_by_default() -> None:
    """Without a setting: certificates and names are checked, and nothing older than TLS 1.2 is spoken."""
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
def test_a_name_with_a_refused_answer_is_never_dialled(answers: list[str]) -> None:
    """One refused number among the answers, or too many answers, and nothing is dialled at all."""
    (answer,), detour, _ = post_over(answering(answers)[0], NAME_URL)
    assert answer.error is SendError.ADDRESS_REFUSED
    assert detour.dialled == []


def test_a_name_that_turns_private_is_not_followed(certificate: Certificate) -> None:
    """Rebinding: a connection resolves once and dials what it judged; a private answer is never dialled."""
    resolve, asked = answering(PUBLIC[:1], ["169.254.169.254"])
    closing = reply(200, "connection: close")
    (first, second), detour, _ = post_over(resolve, NAME_URL, NAME_URL, tls=certificate, script=closing)
    assert (first.status, second.error) == (200, SendError.ADDRESS_REFUSED)
    assert detour.dialled == PUBLIC[:1]
    assert len(asked) == 2


def test_a_connection_is_used_again_for_its_own_name_only(certificate: Certificate) -> None:
    """A second callback soon after takes the open connection; another name at its number opens its own."""
    resolve, asked = answering(PUBLIC[:1])
    answers, detour, receiver = post_over(resolve, NAME_URL, NAME_URL, OTHER_URL, tls=certificate)
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert (len(receiver.requests), receiver.connections) == (3, 2)
    assert asked == certificate.asked_for == ["hooks.contoso.com", "other.contoso.com"]
    assert detour.dialled == [PUBLIC[0], PUBLIC[0]]


def test_at_most_three_numbers_are_dialled() -> None:
    """Dead numbers are passed over, up to the third; the fourth answer is left alone."""
    (answer,), detour, _ = post_over(answering(PUBLIC)[0], NAME_URL, dead=tuple(PUBLIC))
    assert answer.error is SendError.CONNECT
    assert detour.dialled == PUBLIC[:3]


def test_the_next_number_takes_over_from_a_dead_one(certificate: Certificate) -> None:
    """One dead number of several does not cost the attempt."""
    (answer,), detour, _ = post_over(answering(PUBLIC)[0], NAME_URL, tls=certificate, dead=(PUBLIC[0],))
    assert answer.status == 200
    assert detour.dialled == PUBLIC[:2]


def test_a_peer_that_is_not_the_number_dialled_is_refused(certificate: Certificate) -> None:
    """A network that leads elsewhere is noticed before anything is said."""
    (answer,), _, receiver = post_over(answering(PUBLIC[:1])[0], NAME_URL, tls=certificate, exposed=True)
    assert answer.error is SendError.CONNECT
    assert receiver.requests == []


async def no_such_name(host: str, _port: int) -> list[str]:
    """Resolve as the system does for a name that does not exist."""
    raise socket.gaierror(socket.EAI_NONAME, host)


async def slow_name_server(_host: str, _port: int) -> list[str]:
    """Resolve for ever."""
    await asyncio.Event().wait()
    return []


@pytest.mark.parametrize("resolve", [answering([])[0], no_such_name, slow_name_server])
def test_a_name_without_an_answer_is_a_word(resolve: Resolve) -> None:
    """No answers, no such name and a name server that keeps us waiting are all the same word."""
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
def test_the_gate_stands_before_every_attempt(url: str, error: SendError) -> None:
    """A URL that breaks the rules as they are now is not even resolved."""
    resolve, asked = answering(PUBLIC)
    sender = CallbackSender(resolve=resolve, refused_hosts={"own.contoso.com"})
    assert asyncio.run(sender.post(url, FIELDS, BODY)).error is error
    assert asked == []


def test_the_local_setting_lets_no_public_name_in() -> None:
    """With local use on, a public name that resolves to loopback is still refused."""
    sender = CallbackSender(allow_loopback=True, resolve=answering(["127.0.0.1"])[0])
    assert asyncio.run(sender.post(NAME_URL, FIELDS, BODY)).error is SendError.ADDRESS_REFUSED


def test_unix_sockets_are_refused() -> None:
    """No URL leads to a socket file."""
    with pytest.raises(httpcore.ConnectError):
        asyncio.run(PinnedDialer(system_resolve(1)).connect_unix_socket("/var/run/docker.sock"))


@pytest.mark.parametrize(("host", "name"), [("hooks.contoso.com", "hooks.contoso.com."), ("localhost", "localhost")])
def test_a_full_name_is_looked_up_as_it_is(host: str, name: str) -> None:
    """A name that does not exist is not found below a search domain of this machine's network instead."""
    assert absolute(host) == name


def test_the_systems_resolver_gives_each_number_once() -> None:
    """The default resolver answers with plain numbers, without repeats."""

    async def scenario() -> list[str]:
        return await system_resolve(1)("localhost", 443)

    answers = asyncio.run(scenario())
    assert set(answers) <= {"127.0.0.1", "::1"}
    assert len(answers) == len(set(answers)) > 0
