"""The check at create: a callback that cannot work is refused, and no client learns which internal names exist."""

import asyncio
import socket

import pytest

from shared.senders.callbacks import CallbackSender
from shared.senders.pinned_dialer import Resolve
from shared.senders.url_policy import CallbackUrlRefused

URL = "https://hooks.contoso.com/cb"
OWN_NUMBER = "20.50.2.1"


def saying(*answers: str) -> Resolve:
    """Return a resolver that gives these addresses."""

    async def resolve(_host: str, _port: int) -> list[str]:
        return list(answers)

    return resolve


def failing(error: OSError) -> Resolve:
    """Return a resolver that raises this error."""

    async def resolve(_host: str, _port: int) -> list[str]:
        raise error

    return resolve


async def never(_host: str, _port: int) -> list[str]:
    """Wait forever, as for a name server that does not answer."""
    await asyncio.Event().wait()
    return []


LEADS_NOWHERE = {
    "no such name": failing(socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
    "no address": failing(socket.gaierror(socket.EAI_NODATA, "No address associated with hostname")),
    "no answers": saying(),
    "private": saying("10.0.0.1"),
    "platform": saying("168.63.129.16"),
    "one of two": saying("93.184.216.34", "fd00::5"),
    "a crowd": saying(*(f"93.184.0.{n}" for n in range(17))),
    "our own": saying(OWN_NUMBER),
}


@pytest.mark.parametrize("resolve", LEADS_NOWHERE.values(), ids=LEADS_NOWHERE)
async def test_every_host_without_a_public_address_gives_the_same_error(resolve: Resolve) -> None:
    """A name that does not exist and one with a private address give the same error."""
    sender = CallbackSender(resolve=resolve, refused_hosts={OWN_NUMBER})
    with pytest.raises(CallbackUrlRefused) as refusal:
        await sender.vet(URL)
    assert refusal.value.code == "callback_url_unresolvable"
    assert str(refusal.value) == "The host does not lead to a public address."


DOUBTFUL = {
    "slow": never,
    "try again": failing(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")),
    "server failure": failing(socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution")),
    "out of files": failing(OSError(24, "Too many open files")),
}


@pytest.mark.parametrize("resolve", DOUBTFUL.values(), ids=DOUBTFUL)
async def test_a_failure_of_dns_is_not_a_refusal(resolve: Resolve) -> None:
    """If DNS does not answer in a moment, the URL is accepted and checked again before each attempt."""
    async with asyncio.timeout(5):
        await CallbackSender(resolve=resolve, vet_s=0.1).vet(URL)


async def test_a_public_host_is_accepted_after_one_lookup() -> None:
    """The name is looked up once, with the port of the URL."""
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]

    await CallbackSender(resolve=resolve).vet("https://Hooks.Contoso.com.:8443/cb?x=1")
    assert asked == [("hooks.contoso.com", 8443)]


async def test_an_address_is_not_looked_up() -> None:
    """An address in a URL is checked by `check_url`, which has a different code."""
    sender = CallbackSender(resolve=failing(socket.gaierror(socket.EAI_NONAME, "")))
    await sender.vet("https://93.184.216.34/")
    with pytest.raises(CallbackUrlRefused) as refusal:
        await sender.vet("https://10.0.0.1/")
    assert refusal.value.code == "callback_url_address"


async def test_with_loopback_allowed_only_localhost_may_resolve_to_it() -> None:
    """On a laptop the receiver is at localhost. No other name may have a loopback address."""
    sender = CallbackSender(resolve=saying("127.0.0.1", "::1"), allow_loopback=True)
    await sender.vet("http://localhost:5000/cb")
    with pytest.raises(CallbackUrlRefused):
        await sender.vet(URL)


async def test_more_urls_than_threads_can_be_vetted_at_once() -> None:
    """A check that finds no free thread waits no longer than for an answer. Its URL is accepted."""
    sender = CallbackSender(allow_loopback=True, vet_s=0.1)
    await asyncio.gather(*(sender.vet(f"http://localhost:{port}/") for port in range(5000, 5100)))
