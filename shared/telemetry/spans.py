"""Client, server and messaging spans for requests, callbacks and messages, each with its duration as a metric.

A span lasts as long as its block. Outgoing requests carry the traceparent of their span. With telemetry off, they carry
the incoming one.
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

SYSTEM = "azure_storage_queue"  # `messaging.system`, which has no well-known value for Queue Storage
MAX_PATH = 256  # characters, because a client may send any path, even one without a route
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_NOT_ERRORS = (GeneratorExit, CancelledError)  # the reader has left, or another process holds the work now
_PORTS = {"http": 80, "https": 443}


class MeasuredSpan:
    """A span and a metric of its duration in seconds. The metric has only the attributes that have few values."""

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        duration: Histogram,
        common: Attributes,
        details: Attributes | None = None,
        parent: Context | None = None,
    ) -> None:
        """Start the span. `common` are attributes of the span and the metric, `details` only of the span."""
        self._span = tracing.tracer.start_span(name, parent, kind, {**common, **(details or {})})
        self._fails_from = 500 if kind is SpanKind.SERVER else 400
        self._duration = duration
        self._common = dict(common)
        self._error: str | None = None
        self._began_s = time.perf_counter()

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _at: TracebackType | None) -> None:
        """End the span. Only the type of an exception is recorded, and cancellation is not an error."""
        self.end(kind.__qualname__ if kind and not issubclass(kind, _NOT_ERRORS) else None)

    def record_answer(self, status: int | None, error: str | None = None) -> None:
        """Record the HTTP status of the answer, or the kind of error if there is no answer.

        A server span fails with a status of 500 or more, any other span with 400 or more.
        """
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
            self._common["http.response.status_code"] = status
        failed = status is not None and status >= self._fails_from
        self._error = error or (str(status) if failed else None)

    def end(self, error: str | None = None) -> None:
        """End the span. It has failed if the answer was an error, or if `error` is given."""
        error = self._error or error
        if error:
            self._common["error.type"] = error
        tracing.set_error(self._span, error)
        self._span.end()
        self._duration.record(time.perf_counter() - self._began_s, self._common)

    @contextmanager
    def activated(self) -> Iterator[None]:
        """Make this the current span of the block."""
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            yield

    def headers(self) -> dict[str, str]:
        """Return the headers that propagate the span to the receiver of the request."""
        return tracing.trace_headers(self._span)


def server_span(method: str, route: str | None, url: str, traceparent: str) -> MeasuredSpan:
    """Start the span of a request that is served.

    `route` is the route without its leading slash, or None if no route takes the request. `url` may have a query, which
    is not recorded. `traceparent` is that of the client, or empty.
    """
    parts = urlsplit(url)
    known = method if method in _METHODS else "_OTHER"
    common = {"http.request.method": known, "url.scheme": parts.scheme}
    if route is not None:
        common["http.route"] = f"/{route}"
    name = f"{known} /{route}" if route is not None else known.replace("_OTHER", "HTTP")
    path = {"url.path": parts.path[:MAX_PATH]}
    parent = tracing.remote_context(traceparent)
    return MeasuredSpan(name, SpanKind.SERVER, metrics.server_duration, common, path, parent)


def upstream_span(method: str, template: str, url: str) -> MeasuredSpan:
    """Start the span of a request to the upstream.

    `template` is the path with placeholders for ids. `url` must not contain credentials, because it is recorded.
    """
    common = {"http.request.method": method, "url.template": template, **_server(url)}
    return MeasuredSpan(f"{method} {template}", SpanKind.CLIENT, metrics.client_duration, common, {"url.full": url})


def callback_span(url: str, attempt: int) -> MeasuredSpan:
    """Start the span of a callback attempt. `attempt` counts from 1.

    Only the host and the port of the URL are recorded, because its path and query may be secret.
    """
    details = {"http.request.resend_count": attempt - 1} if attempt > 1 else {}
    common = {"http.request.method": "POST"}
    return MeasuredSpan("POST", SpanKind.CLIENT, metrics.client_duration, common, {**_server(url), **details})


def reply_span(queue: str) -> MeasuredSpan:
    """Start the span of a message to a reply queue."""
    common = {"messaging.system": SYSTEM, "messaging.operation.name": "send", "messaging.operation.type": "send"}
    destination = {"messaging.destination.name": queue}
    return MeasuredSpan(f"send {queue}", SpanKind.PRODUCER, metrics.send_duration, common, destination)


def queued_request_span(queue: str, message_id: str, traceparent: str) -> MeasuredSpan:
    """Start the span of handling a message from one of our queues. `traceparent` is its sender's, or empty."""
    common = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": queue,
    }
    details = {"messaging.message.id": message_id}
    parent = tracing.remote_context(traceparent)
    return MeasuredSpan(f"process {queue}", SpanKind.CONSUMER, metrics.process_duration, common, details, parent)


def _server(url: str) -> dict[str, str | int]:
    parts = urlsplit(url)
    return {"server.address": parts.hostname or "", "server.port": parts.port or _PORTS.get(parts.scheme, 443)}
