"""A TLS receiver with little overhead: `python -m local.bench.deliveries.tls_receiver --pair pair.pem`.

It accepts one callback per connection and closes the connection after its answer. So every delivery needs a new one.
"""

import argparse
import asyncio
import contextlib
import ssl
from functools import partial
from pathlib import Path

from local.bench.meters.tap import LENGTH

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delay_s: float) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, OSError):
        length = LENGTH.search(await reader.readuntil(b"\r\n\r\n"))
        await reader.readexactly(int(length[1]) if length else 0)
        await asyncio.sleep(delay_s)
        writer.write(ANSWER)
        await writer.drain()
    writer.close()


async def _serve(pair: Path, delay_s: float) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair)
    server = await asyncio.start_server(partial(_answer, delay_s=delay_s), "127.0.0.1", 0, ssl=tls)
    print(f"receiver listening on https://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until a signal stops the process."""
    parser = argparse.ArgumentParser(prog="local.bench.deliveries.tls_receiver", description=__doc__)
    parser.add_argument("--pair", type=Path, required=True, help="a file with its certificate and key")
    parser.add_argument("--delay-s", type=float, default=0.0, help="how long each answer takes")
    given = parser.parse_args()
    asyncio.run(_serve(given.pair, given.delay_s))


if __name__ == "__main__":
    main()
