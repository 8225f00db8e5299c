"""What goes in and out, as spans and measured durations: requests served and made, messages taken and sent.

A block is one exchange; what is known only later is noted while it lasts. To the one who is asked go the headers of
its span, or without telemetry those of whoever began the trace.
"""

import time
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Histogram
from opentelemetry.trace import SpanKind

from shared.telemetry import metrics, tracing
from shared.telemetry.tracing import Attributes

SYSTEM = "azure_storage_queue"  # messaging.system has no well-known value for it
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_ENOUGH = (GeneratorExit, CancelledError)  # a stream that nobody reads on, work that another holds now
MAX_PATH = 256  # characters; of a request for nobody it is whatever somebody sends
_PORTS = {"http": 80, "https": 443}


class Exchange:
    """One exchange: a span, and its duration with those of its attributes that few values are known of."""

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        duration: Histogram,
        common: Attributes,
        details: Attributes | None = None,
        parent: Context | None = None,
    ) -> None:
        self._span = tracing.tracer.start_span(name, parent, kind, {**common, **(details or {})})
        self._fails_from = 500 if kind is SpanKind.SERVER else 400
        self._duration = duration
        self.common = dict(common)
        self._error: str | None = None
        self._began_s = time.perf_counter()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _at: TracebackType | None) -> None:
        """End it; an exception is known by its type alone, and that we have had enough is none."""
        self.end(kind.__qualname__ if kind and not issubclass(kind, _ENOUGH) else None)

    def answered(self, status: int | None, error: str | None = None) -> None:
        """Note the status of an HTTP answer, or the kind of error that there is none for."""
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
            self.common["http.response.status_code"] = status
        failed = status is not None and status >= self._fails_from
        self._error = error or (str(status) if failed else None)

    def end(self, error: str | None = None) -> None:
        """End it, failed by that kind of error if there is one, and if the answer itself was none."""
        error = self._error or error
        if error:
            self.common["error.type"] = error
        tracing.judge(self._span, error)
        self._span.end()
        self._duration.record(time.perf_counter() - self._began_s, self.common)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Have what is done in the block be part of it."""
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            yield

    def headers(self) -> dict[str, str]:
        """Return the headers that carry its trace to the one who is asked."""
        return tracing.headers(self._span)


def serving(method: str, route: str | None, url: str, traceparent: str) -> Exchange:
    """Begin to serve a request; without a route it is one for nobody. Of the URL the query is not told."""
    parts = urlsplit(url)
    known = method if method in _METHODS else "_OTHER"
    common = {"http.request.method": known, "url.scheme": parts.scheme}
    if route is not None:
        common["http.route"] = f"/{route}"
    name = f"{known} /{route}" if route is not None else known.replace("_OTHER", "HTTP")
    parent = tracing.remote(traceparent)
    return Exchange(name, SpanKind.SERVER, metrics.served, common, {"url.path": parts.path[:MAX_PATH]}, parent)


def asking(method: str, template: str, url: str) -> Exchange:
    """Begin to ask the upstream; the URL is without credentials and of our own making."""
    common = {"http.request.method": method, "url.template": template, **_server(url)}
    return Exchange(f"{method} {template}", SpanKind.CLIENT, metrics.asked, common, {"url.full": url})


def calling_back(url: str, attempt: int) -> Exchange:
    """Begin an attempt to call back. Of the URL only the server is told: path and query may be secret."""
    details = {"http.request.resend_count": attempt - 1} if attempt > 1 else {}
    common = {"http.request.method": "POST"}
    return Exchange("POST", SpanKind.CLIENT, metrics.asked, common, {**_server(url), **details})


def replying(queue: str) -> Exchange:
    """Begin to send a message to a reply queue."""
    common = {"messaging.system": SYSTEM, "messaging.operation.name": "send", "messaging.operation.type": "send"}
    destination = {"messaging.destination.name": queue}
    return Exchange(f"send {queue}", SpanKind.PRODUCER, metrics.sent, common, destination)


def taking(queue: str, message_id: str, traceparent: str) -> Exchange:
    """Begin to take a message from a queue of ours."""
    common = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": queue,
    }
    details = {"messaging.message.id": message_id}
    parent = tracing.remote(traceparent)
    return Exchange(f"process {queue}", SpanKind.CONSUMER, metrics.processed, common, details, parent)


def _server(url: str) -> dict[str, str | int]:
    parts = urlsplit(url)
    return {"server.address": parts.hostname or "", "server.port": parts.port or _PORTS.get(parts.scheme, 443)}
