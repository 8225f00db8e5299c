"""Telemetry about changes of a response, emitted once they are written: log lines, metrics, and at its end a span."""

from shared.core.changesets import ChangeSet
from shared.core.records import Record
from shared.core.states import Status
from shared.telemetry import metrics, tracing
from shared.telemetry.logs import logger
from shared.telemetry.operations import Operation
from shared.telemetry.tracing import ResponseSpan

_log = logger(__name__)
_WITHDRAWN = "withdrawn"  # a status for telemetry only, because the record no longer exists


def record_transition(before: Record | None, change: ChangeSet, operation: Operation) -> None:
    """Emit that a response was accepted, was started upstream, or has another status. Emit nothing else.

    `before` is the record that `change` was decided from, or None for a new response.
    """
    now = change.record
    with tracing.under(now.trace):
        if before is None or not before.etag:
            _emit_accepted(now)
        if now.status.is_terminal and not (before and before.status.is_terminal):
            _emit_ended(now, change, operation)
        elif before and now.upstream.token and not before.upstream.token and not now.status.is_terminal:
            _log.info("response.started", extra=_line(now) | {"status": now.status, "upstream": now.upstream.id})
        elif before and before.status is not now.status:
            _log.info(f"response.{now.status}", extra=_line(now))


def record_withdrawal(record: Record, operation: Operation, now_ms: int) -> None:
    """Emit that the upstream refused the request of a response, and that the response is removed.

    `now_ms` is the end of its span, in unix milliseconds.
    """
    with tracing.under(record.trace):
        _log.info("response.withdrawn", extra=_line(record))
    metrics.ended.add(1, {"status": _WITHDRAWN})
    if record.trace_parent:
        details = _names(operation) | _details(record, operation) | {"background_responses.status": _WITHDRAWN}
        tracing.emit_response_span(_span(record, operation, now_ms), details, _WITHDRAWN)


def _emit_accepted(record: Record) -> None:
    request = record.request
    _log.info("response.accepted", extra=_line(record) | {"store": request.store, "previous": request.previous_id})
    metrics.accepted.add(1, {"background": request.background, "stream": request.stream})


def _emit_ended(record: Record, change: ChangeSet, operation: Operation) -> None:
    age_ms = _age_ms(record)
    found = {
        "age_ms": age_ms,
        "mode": record.run.mode,
        "starts": record.upstream.starts,
        "targets": [delivery.target.label for delivery in record.deliveries],
        **change.attributes,
    }
    _log.info(f"response.{record.status}", extra=_line(record) | found)
    metrics.ended.add(1, {"status": record.status})
    metrics.response_age.record(age_ms / 1000, {"status": record.status})
    _emit_operation(record, change, operation)


def _line(record: Record) -> dict[str, object]:
    return {
        "response": record.id,
        "caller": record.caller,
        "model": record.request.model,
        "background": record.request.background,
        "stream": record.request.stream,
    }


def _emit_operation(record: Record, change: ChangeSet, operation: Operation) -> None:
    """Emit the response as one call of its model, in the terms of OpenTelemetry's GenAI conventions."""
    failure = str(change.attributes.get("error", "failed")) if record.status is Status.FAILED else None
    common = _common(record, change, operation)
    used = {"input": change.attributes.get("input_tokens"), "output": change.attributes.get("output_tokens")}
    counts = {of: count for of, count in used.items() if isinstance(count, int)}
    metrics.operation_duration.record(_age_ms(record) / 1000, common | ({"error.type": failure} if failure else {}))
    for of, count in counts.items():
        metrics.token_usage.record(count, common | {"gen_ai.token.type": of})
    if record.trace_parent:
        details = _details(record, operation) | {f"gen_ai.usage.{of}_tokens": count for of, count in counts.items()}
        tracing.emit_response_span(_span(record, operation, record.ended_ms), common | details, failure)


def _age_ms(record: Record) -> int:
    """Return the age of a response at its end. Two processes set these times, and their clocks may differ."""
    return max(0, record.ended_ms - record.created_ms)


def _common(record: Record, change: ChangeSet, operation: Operation) -> dict[str, str | int | bool]:
    """Return the attributes that have few values. A model is one only if its upstream has accepted the work."""
    common = _names(operation)
    model = change.attributes.get("response_model") if record.upstream.id else None
    return common | {"gen_ai.response.model": model} if model else common


def _names(operation: Operation) -> dict[str, str | int | bool]:
    return {"gen_ai.operation.name": operation.name, "gen_ai.provider.name": operation.provider}


def _details(record: Record, operation: Operation) -> dict[str, str | int | bool]:
    """Return the attributes that only the span has, as far as they are known."""
    known = {
        operation.subject: operation.model_name(record.request.model) or None,
        "gen_ai.response.id": record.upstream.id,
        "background_responses.id": record.id,
        "background_responses.status": record.status.value,
        "background_responses.caller": record.caller,
        "background_responses.background": record.request.background,
        "background_responses.stream": record.request.stream,
        "background_responses.starts": record.upstream.starts,
    }
    return {name: value for name, value in known.items() if value is not None}


def _span(record: Record, operation: Operation, ended_ms: int) -> ResponseSpan:
    name = f"{operation.name} {operation.model_name(record.request.model)}"
    return ResponseSpan(name.strip(), record.trace, record.trace_parent, record.created_ms, ended_ms)
