"""The metrics of the service. Without telemetry they cost nothing.

`gen_ai.*`, `http.*` and `messaging.*` are names of OpenTelemetry's semantic conventions 1.44. Ours begin with
`background_responses`. A value that callers choose freely is never an attribute, because each value would create
another time series. A model becomes an attribute only when its upstream has accepted the work.
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
response_age = _seconds("background_responses.age", "Age of a response when it ends, by status.")
abandoned = _counter(
    "background_responses.starts.abandoned", "{response}", "Starts given up although work may be running upstream."
)
repeated = _counter(
    "background_responses.starts.repeated", "{start}", "Starts made again although an earlier one may have begun work."
)
poll_lag = _seconds("background_responses.poll.lag", "How late a poll begins.")
alarms_overdue = _seconds("background_responses.alarms.overdue", "How late a shard's first alarm is, once a minute.")
attempts = _counter("background_responses.delivery.attempts", "{attempt}", "Delivery attempts, by target and class.")
deliveries = _counter("background_responses.deliveries", "{delivery}", "Finished deliveries, by target and state.")
delivery_time = _seconds("background_responses.delivery.time", "From a response's end to its first 2xx, by target.")
stream_readers = _meter.create_up_down_counter("background_responses.stream.readers", "{reader}", "Streams being read.")

server_duration = _seconds("http.server.request.duration", "Duration of requests served, streams to their end.")
client_duration = _seconds("http.client.request.duration", "Duration of requests to the upstream and to receivers.")
send_duration = _seconds("messaging.client.operation.duration", "Duration of sending a message.")
process_duration = _seconds("messaging.process.duration", "Duration of handling a queued request.")
operation_duration = _seconds("gen_ai.client.operation.duration", "Duration of a response, from acceptance to end.")
token_usage = _meter.create_histogram(
    "gen_ai.client.token.usage",
    "{token}",
    "Tokens used by a response.",
    explicit_bucket_boundaries_advisory=[4**power for power in range(14)],  # the boundaries in the conventions
)
