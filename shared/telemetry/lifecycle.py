"""What is told of a change once it is written: one line, its metrics and, of an end, the span of the whole life."""

from shared.core.changesets import Write
from shared.core.records import TARGETS, Record
from shared.core.states import Status
from shared.telemetry import metrics, tracing
from shared.telemetry.logs import logger
from shared.telemetry.operations import Operation
from shared.telemetry.tracing import Life

_log = logger(__name__)
_WITHDRAWN = "withdrawn"  # the status of no record: there is none any more


def told(before: Record | None, write: Write, operation: Operation) -> None:
    """Tell of a response that was accepted, or whose status is another now; of every other write nothing."""
    now = write.record
    with tracing.under(now.trace):
        if before is None or not before.etag:
            _accepted(now)
        if now.status.is_terminal and not (before and before.status.is_terminal):
            _ended(now, write, operation)
        elif before and now.token and not before.token and not now.status.is_terminal:
            _log.info("response.started", extra=_line(now) | {"status": now.status, "upstream": now.upstream_id})
        elif before and before.status is not now.status:
            _log.info(f"response.{now.status}", extra=_line(now))


def withdrawn(record: Record, operation: Operation, now_ms: int) -> None:
    """Tell of a response whose upstream refused the request, so that nothing of it is kept."""
    with tracing.under(record.trace):
        _log.info("response.withdrawn", extra=_line(record))
    metrics.ended.add(1, {"status": _WITHDRAWN})
    if record.trace_parent:
        details = _named(operation) | _details(record, operation) | {"background_responses.status": _WITHDRAWN}
        tracing.lived(_life(record, operation, now_ms), details, _WITHDRAWN)


def _accepted(record: Record) -> None:
    _log.info("response.accepted", extra=_line(record) | {"store": record.store, "previous": record.previous})
    metrics.accepted.add(1, {"background": record.background, "stream": record.stream})


def _ended(record: Record, write: Write, operation: Operation) -> None:
    age_ms = _age_ms(record)
    found = {
        "age_ms": age_ms,
        "mode": record.mode,
        "starts": record.starts,
        "targets": [TARGETS[delivery.target] for delivery in record.deliveries],
        **write.said,
    }
    _log.info(f"response.{record.status}", extra=_line(record) | found)
    metrics.ended.add(1, {"status": record.status})
    metrics.age.record(age_ms / 1000, {"status": record.status})
    _lived(record, write, operation)


def _line(record: Record) -> dict[str, object]:
    return {
        "response": record.id,
        "caller": record.caller,
        "model": record.model,
        "background": record.background,
        "stream": record.stream,
    }


def _lived(record: Record, write: Write, operation: Operation) -> None:
    """Tell of the response as of a call of its model, in the words of the GenAI conventions."""
    failure = str(write.said.get("error", "failed")) if record.status is Status.FAILED else None
    common = _common(record, write, operation)
    used = {"input": write.said.get("input_tokens"), "output": write.said.get("output_tokens")}
    counts = {of: count for of, count in used.items() if isinstance(count, int)}
    metrics.operation.record(_age_ms(record) / 1000, common | ({"error.type": failure} if failure else {}))
    for of, count in counts.items():
        metrics.tokens.record(count, common | {"gen_ai.token.type": of})
    if record.trace_parent:
        details = _details(record, operation) | {f"gen_ai.usage.{of}_tokens": count for of, count in counts.items()}
        tracing.lived(_life(record, operation, record.ended_ms), common | details, failure)


def _age_ms(record: Record) -> int:
    """Return how old it is at its end; two processes have told these times, and their clocks may differ."""
    return max(0, record.ended_ms - record.created_ms)


def _common(record: Record, write: Write, operation: Operation) -> dict[str, str | int | bool]:
    """Return what few values are known of; a model only where its upstream has taken the work."""
    common = _named(operation)
    model = write.said.get("response_model") if record.upstream_id else None
    return common | {"gen_ai.response.model": model} if model else common


def _named(operation: Operation) -> dict[str, str | int | bool]:
    return {"gen_ai.operation.name": operation.name, "gen_ai.provider.name": operation.provider}


def _details(record: Record, operation: Operation) -> dict[str, str | int | bool]:
    """Return what a span may say beside, where it is known."""
    known = {
        operation.subject: operation.named(record.model) or None,
        "gen_ai.response.id": record.upstream_id,
        "background_responses.id": record.id,
        "background_responses.status": record.status.value,
        "background_responses.caller": record.caller,
        "background_responses.background": record.background,
        "background_responses.stream": record.stream,
        "background_responses.starts": record.starts,
    }
    return {name: value for name, value in known.items() if value is not None}


def _life(record: Record, operation: Operation, ended_ms: int) -> Life:
    name = f"{operation.name} {operation.named(record.model)}"
    return Life(name.strip(), record.trace, record.trace_parent, record.created_ms, ended_ms)
