"""The address of the console, which `make start` prints if the host serves one."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from local.stack.ports import free_port
from local.start.start import console_of


@contextmanager
def host(status: int) -> Iterator[str]:
    """Run a host that has only the path of the console, and answers there with the status."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/console" else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize(("status", "is_there"), [(200, True), (404, False), (500, False)])
def test_a_console_is_one_that_the_host_serves(status: int, is_there: bool) -> None:
    """A host where it is switched off answers 404, and then no address is printed."""
    with host(status) as url:
        assert console_of(url) == (f"{url}/console" if is_there else None)


def test_a_host_that_does_not_answer_has_no_console() -> None:
    """The start goes on without it."""
    assert console_of(f"http://127.0.0.1:{free_port()}") is None
