"""Runs an upstream of another make as a process until the end of a block."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import httpx

from local.stack.ports import free_port
from local.stack.process import Process, wait_for

START_S = 150.0  # what these servers import takes seconds, and more while others work beside
ASK_S = 2.0


@contextmanager
def upstream_server(
    directory: Path,
    name: str,
    command: Sequence[str],
    env: Mapping[str, str] = MappingProxyType({}),
    *,
    ready: str = "/",
    keep_up: bool = False,
) -> Iterator[str]:
    """Run a server until the end of the block, and yield its base URL, without a slash at its end.

    `{port}` in the command and in the values of `env` is replaced by its port. The server has started when GET of the
    path `ready` is answered with anything below 500. Its output goes to a file in the directory. With `keep_up`, it is
    started again whenever it ends with the exit code 70. Raise PartError with the end of that output if the server ends
    otherwise before it is ready, or does not answer within START_S seconds.
    """
    port = str(free_port())
    words = [word.replace("{port}", port) for word in command]
    settings = {key: value.replace("{port}", port) for key, value in env.items()}
    process = Process(name, words, env=settings, log=directory / f"{name}.log")
    if keep_up:
        process.restart_when_it_gives_up()
    url = f"http://127.0.0.1:{port}"
    try:
        if not wait_for(lambda: _answers(process, f"{url}{ready}"), START_S):
            raise process.failure(f"not ready after {START_S:g} s")
        yield url
    finally:
        process.stop()


def _answers(process: Process, url: str) -> bool:
    process.check()
    try:
        return httpx.get(url, timeout=ASK_S, trust_env=False).status_code < 500
    except httpx.TransportError:
        return False
