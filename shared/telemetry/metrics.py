"""Metrics: what is counted and measured, each under its name. Without telemetry they cost nothing.

`gen_ai.*`, `http.*` and `messaging.*` are those of OpenTelemetry's semantic conventions 1.44; ours begin with
`background_responses`. What callers choose freely is no attribute of theirs, so that nobody can multiply them: a model
is named once its upstream has taken the work.
"""

from opentelemetry import metrics

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400, 86_400)
_meter = metrics.get_meter("background_responses")


def _counter(name: str, unit: str, description: str) -> metrics.Counter:
    return _meter.create_counter(name, unit, description)


def _seconds(name: str, description: str) -> metrics.Histogram:
    return _meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS)


accepted = _counter("background_responses.accepted", "{response}", "Responses accepted.")
ended = _counter("background_responses.ended", "{response}", "Responses ended, by status.")
age = _seconds("background_responses.age", "Age of a response when it ends, by status.")
poll_lag = _seconds("background_responses.poll.lag", "How late a poll begins.")
overdue = _seconds("background_responses.alarms.overdue", "How late a shard's first alarm is; asked every minute.")
attempts = _counter("background_responses.delivery.attempts", "{attempt}", "Attempts to deliver, by target and class.")
deliveries = _counter("background_responses.deliveries", "{delivery}", "Deliveries that are over, by target and state.")
delivered = _seconds("background_responses.delivery.time", "From the end of a response to its first 2xx, by target.")
readers = _meter.create_up_down_counter("background_responses.stream.readers", "{reader}", "Streams being read.")

served = _seconds("http.server.request.duration", "Duration of requests served, streams to their end.")
asked = _seconds("http.client.request.duration", "Duration of requests made, of the upstream and of receivers.")
sent = _seconds("messaging.client.operation.duration", "Duration of sending a message.")
processed = _seconds("messaging.process.duration", "Duration of taking a queued request.")
operation = _seconds("gen_ai.client.operation.duration", "Duration of a response, from its acceptance to its end.")
tokens = _meter.create_histogram(
    "gen_ai.client.token.usage",
    "{token}",
    "Tokens used by a response.",
    explicit_bucket_boundaries_advisory=[4**power for power in range(14)],  # as the conventions say
)
