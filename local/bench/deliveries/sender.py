"""The run of deliveries: the product's sender calls another process over TLS, with one connection per delivery."""

import asyncio
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from local.bench.deliveries.certificate import Certificate, certificate
from local.bench.deliveries.detour import Detour
from local.bench.deliveries.lines import Sent
from local.bench.loads.load import burst
from local.credentials.keys import new_signing_secret
from local.stack.process import PartError, Process
from shared.contract import signatures
from shared.senders.admission import MAX_FIRSTS
from shared.senders.callbacks import CallbackSender

RUN_DEADLINE_S = 60.0
START_DEADLINE_S = 20.0
WARM_UP = 100
HOSTS = [f"hooks{number}.contoso.com" for number in range(8)]
BODY = b'{"type": "response.completed", "data": "%b"}' % (b"x" * 1958)  # 2,000 bytes


def time_deliveries(deliveries: int, answer_s: float) -> Sent:
    """Deliver to a receiver that takes `answer_s` seconds to answer. Raise PartError if a part fails."""
    with TemporaryDirectory(prefix="deliveries-") as name:
        shown = certificate(Path(name), HOSTS)
        with _receiver(shown, answer_s) as port:
            try:
                return asyncio.run(_timed(deliveries, port, shown.client))
            except TimeoutError:
                raise PartError("sender", f"the run has not ended within {RUN_DEADLINE_S:g} s") from None


@contextmanager
def _receiver(shown: Certificate, answer_s: float) -> Iterator[int]:
    """Run a receiver that shows this certificate, and yield its port."""
    command = [
        sys.executable,
        "-m",
        "local.bench.deliveries.tls_receiver",
        "--pair",
        str(shown.pair),
        "--delay-s",
        f"{answer_s}",
    ]
    process = Process("receiver", command, env={}, log=shown.pair.with_name("receiver.log"))
    try:
        yield urlsplit(process.url(START_DEADLINE_S)).port or 0
    finally:
        process.stop()


async def _timed(deliveries: int, port: int, trust: ssl.SSLContext) -> Sent:
    detour = Detour(port)
    sender = CallbackSender(resolve=_resolve, ssl_context=trust, dialer=detour)
    async with asyncio.timeout(RUN_DEADLINE_S), aclosing(sender):
        await _send(sender, WARM_UP)
        detour.dials, began_s, began_cpu_s = 0, time.perf_counter(), time.process_time()
        statuses = await _send(sender, deliveries)
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        return Sent(deliveries, statuses[200], detour.dials, took_s, cpu_s)


async def _send(sender: CallbackSender, deliveries: int) -> Counter[int | None]:
    """Make the deliveries, as many at once as the sender allows. Return how often each status was received."""
    secret, numbers, statuses = new_signing_secret(), count(), Counter[int | None]()

    async def deliver() -> None:
        number = next(numbers)
        url = f"https://{HOSTS[number % len(HOSTS)]}/callback"
        async with sender.admit(url, "bench", first=True, patience_s=RUN_DEADLINE_S):
            headers = signatures.signed_headers([secret], f"evt_{number}", int(time.time()), BODY)
            answer = await sender.post(url, headers, BODY)
        statuses[answer.status] += 1

    await burst(deliver, count=deliveries, clients=MAX_FIRSTS)
    return statuses


async def _resolve(_host: str, _port: int) -> list[str]:
    return ["93.184.216.34"]  # any public address, since the detour leads to this machine
