"""`python -m local.host --port P [--app DIR]`: serve the Functions app in DIR until a signal stops it.

It listens before the app is loaded. Until the line `host.started`, every call gets a 404 with an empty body.
"""

import argparse
import asyncio
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from local.host import logs
from local.host.durations import Durations
from local.host.errors import LoadError
from local.host.server import Host
from local.host.skew import shift_clock
from local.stack.loopback import listen


def main() -> int:
    """Load and serve the app. If it cannot be served, print one line per reason and return 1.

    Otherwise, this does not return: after a signal the process ends with 0, after an error in it with 70.
    """
    arguments = _arguments()
    shift_clock(os.environ)
    logs.configure()
    try:
        with ThreadPoolExecutor(_threads()) as pool, asyncio.Runner() as runner:
            runner.run(_serve(arguments, pool))
    except LoadError as refused:
        for problem in refused.problems:
            print(f"refused: {problem}", file=sys.stderr)
    return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.host", description=__doc__)
    parser.add_argument("--port", type=int, default=7071, help="0 takes a free one")
    parser.add_argument("--app", type=Path, default=Path(), help="the directory of function_app.py and host.json")
    parser.add_argument(
        "--time-factor", type=float, default=1, help="of the platform's durations, such as 30 s for HTTP after SIGTERM"
    )
    return parser.parse_args()


def _listen(port: int) -> socket.socket:
    try:
        return listen(port)
    except OSError as error:
        raise LoadError(f"port {port} cannot be taken: {error.strerror}") from None


async def _serve(arguments: argparse.Namespace, pool: ThreadPoolExecutor) -> NoReturn:
    host = Host(os.environ, pool, Durations(arguments.time_factor))
    await host.serve(arguments.app.resolve(), _listen(arguments.port))


def _threads() -> int:
    default = min(32, (os.cpu_count() or 1) + 4)
    return int(os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT", default))


if __name__ == "__main__":
    sys.exit(main())
