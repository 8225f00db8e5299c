"""Planted faults: lines of the app that are changed, one at a time, so that the audit must find something."""

from dataclasses import dataclass

from local.chaos.plan import STREAMS, Faults, Kind
from local.chaos.world.apps import Change

CALM = Faults(())
FROZEN = Faults((Kind.PAUSE,), every_s=20.0, lasts_s=36.0)  # longer than the lease of a run


@dataclass(frozen=True)
class Mutant:
    """A planted fault, and the checks of which one must find it: others would have found something else.

    `faults` are those of the world under which it shows, and `seconds` is the most it is given.
    """

    name: str
    changes: tuple[Change, ...]
    finders: tuple[str, ...] = ()
    faults: Faults = CALM
    seconds: float = 20.0
    gated: bool = False
    streams: tuple[str, ...] = STREAMS


MUTANTS = (
    Mutant(
        "the tail is off by one: a reader resumes one event too late",
        (Change("shared/runs/log_reader.py", "self.after + 1 - batch.first", "self.after + 2 - batch.first"),),
        finders=(
            "a resumed reader gets every event above N once",
            "a second reader has the right text",
            "a second reader reads the same",
        ),
    ),
    Mutant(
        "the lease of a run is never renewed",
        (Change("shared/runs/renewal.py", "if lease.is_used(ports.clock.now_ms(), RENEWED_AT):", "if False:"),),
        finders=("no lease lapses without a fault",),
        seconds=30,
        streams=("sim-50s",),
    ),
    Mutant(
        "a permit is never counted",
        (Change("shared/core/gates/lines.py", "used=state.used + 1", "used=state.used"),),
        finders=("never more than the limit at work",),
        gated=True,
    ),
    Mutant(
        "the end of a response drops the alarms of its callbacks",
        (
            Change(
                "shared/transitions/response_transitions.py",
                "alarms_in=(*alarms.values(), purge, *stops)",
                "alarms_in=(purge, *stops)",
            ),
        ),
        finders=("every open delivery has its alarm",),
    ),
    Mutant(
        "each attempt of a callback has a new webhook-id",
        (
            Change(
                "shared/contract/responses.py",
                '"id": ids.event_id(record.id, kind)',
                '"id": "evt_" + ids.new_id().removeprefix("resp_")',
            ),
        ),
        finders=("one webhook-id for all attempts",),
    ),
    Mutant(
        "a cancellation overwrites the end",
        (
            Change("shared/lifecycle/completion.py", "return not current.status.is_terminal and", "return True and"),
            Change(
                "shared/core/states.py",
                "    return follow(before, after)\n\n\ndef later",
                "    return after\n\n\ndef later",
            ),
        ),
        finders=(
            "a terminal response never changes",
            "an ended response cannot be cancelled",
        ),
    ),
    Mutant(
        "an Idempotency-Key is ignored",
        (
            Change(
                "shared/engine.py", "derived_id(caller.name.encode(), key.encode(), new.raw) if key", "new_id() if key"
            ),
        ),
        finders=("one key is one response",),
    ),
    Mutant(
        "the upstream gets another key at each try",
        (
            Change(
                "shared/upstreams/responses_api.py",
                '        headers = {"Idempotency-Key": key}\n',
                '        headers = {"Idempotency-Key": key + __import__("os").urandom(4).hex()}\n',
            ),
        ),
        finders=(
            "no work without a response",
            "work is begun once",
        ),
    ),
    Mutant(
        "the tokens of an end are not counted",
        (Change("shared/transitions/response_transitions.py", "usage=ending.usage", "usage=record.usage"),),
        finders=("usage sums are right",),
    ),
    Mutant(
        "a response of another caller is shown",
        (Change("shared/lifecycle/ownership.py", "record.caller != caller.name or", ""),),
        finders=("callers are isolated",),
    ),
    Mutant(
        "a signature covers one byte more than is sent",
        (Change("shared/deliveries/sending.py", "now_ms // 1000, body)", 'now_ms // 1000, body + b" ")'),),
        finders=("every signature is good",),
    ),
    Mutant(
        "a host keeps 4 MB of every invocation",
        (
            Change(
                "functions/invocations.py",
                "    if not _first.tasks:",
                "    _KEPT.append(bytearray(b'x' * 4_000_000))\n    if not _first.tasks:",
            ),
            Change("functions/invocations.py", "async def begin(", "_KEPT: list[bytearray] = []\n\n\nasync def begin("),
        ),
        finders=(
            "memory of a host does not grow",
            "memory of a host is bounded",
        ),
        seconds=60,
    ),
    Mutant(
        "a claim without fence: a record is written whatever has happened to it since",
        (
            Change(
                "shared/storage/operations.py",
                '    return ("update", entity, {"mode": UpdateMode.MERGE, **_if_match(record.etag)})\n\n\ndef _alarm',
                '    return ("update", entity, {"mode": UpdateMode.MERGE})\n\n\ndef _alarm',
            ),
        ),
        finders=("everything is done in time", "no work is left"),
        faults=FROZEN,
        seconds=60,
    ),
)
