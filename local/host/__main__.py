"""`python -m local.host --port P [--app DIR]`: serve the Functions app in DIR until a signal stops it."""

import argparse
import asyncio
import logging
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from local.host import logs
from local.host.app import App, load
from local.host.errors import LoadError
from local.host.server import serve
from local.stack.loopback import listen


def main() -> int:
    """Load and serve the app. If it cannot be served, print one line per reason and return 1."""
    arguments = _arguments()
    logs.configure()
    try:
        app = load(arguments.app.resolve(), os.environ)
        return _serve(app, _listen(arguments.port))
    except LoadError as refused:
        for problem in refused.problems:
            print(f"refused: {problem}", file=sys.stderr)
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.host", description=__doc__)
    parser.add_argument("--port", type=int, default=7071, help="0 takes a free one")
    parser.add_argument("--app", type=Path, default=Path(), help="the directory of function_app.py and host.json")
    return parser.parse_args()


def _listen(port: int) -> socket.socket:
    try:
        return listen(port)
    except OSError as error:
        raise LoadError(f"port {port} cannot be taken: {error.strerror}") from None


def _serve(app: App, listener: socket.socket) -> int:
    with ThreadPoolExecutor(_threads()) as pool, asyncio.Runner() as runner:
        if not runner.run(serve(app, listener, pool, os.environ)):
            # A synchronous function cannot be stopped, and the interpreter would wait for its thread.
            logging.shutdown()
            os._exit(0)
    return 0


def _threads() -> int:
    default = min(32, (os.cpu_count() or 1) + 4)
    return int(os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT", default))


if __name__ == "__main__":
    sys.exit(main())
