"""The platform while it starts: it answers the first calls itself, by a 404 with an empty body."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx


@contextmanager
def starting_platform(service_url: str, *, refusals: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a server before the service, and the list of the calls that it has answered itself.

    It answers the first `refusals` POSTs and the first `refusals` GETs by an empty 404, and passes on all others.
    """
    refused: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if refused.count(self.command) < refusals:
                refused.append(self.command)
                self.send_response(404)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() in PASSED}
            url = f"{service_url}{self.path}"
            with httpx.Client(timeout=60, trust_env=False) as client:
                answer = client.request(self.command, url, headers=headers, content=body)
            self.send_response(answer.status_code)
            for name in ("content-type", "x-request-id"):
                self.send_header(name, answer.headers[name])
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = _serve  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", refused
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


PASSED = {"authorization", "content-type", "idempotency-key", "prefer"}
