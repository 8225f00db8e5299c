"""Planted faults: lines of the app that are changed, one at a time, so that the audit must find something."""

from dataclasses import dataclass

from local.chaos.plan import STREAMS, Kind
from local.chaos.world.apps import Change


@dataclass(frozen=True)
class Mutant:
    """A planted fault. `kinds` are the faults of the world under which it shows, `seconds` is the most it is given."""

    name: str
    changes: tuple[Change, ...]
    kinds: tuple[Kind, ...] = ()
    seconds: float = 20.0
    gated: bool = False
    streams: tuple[str, ...] = STREAMS


MUTANTS = (
    Mutant(
        "the tail is off by one: a reader resumes one event too late",
        (Change("shared/runs/log_reader.py", "self.after + 1 - batch.first", "self.after + 2 - batch.first"),),
    ),
    Mutant(
        "the lease of a run is never renewed",
        (Change("shared/runs/renewal.py", "if lease.is_used(ports.clock.now_ms(), RENEWED_AT):", "if False:"),),
        seconds=30,
        streams=("sim-50s",),
    ),
    Mutant(
        "a permit is never counted",
        (Change("shared/core/gates/lines.py", "used=state.used + 1", "used=state.used"),),
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
    ),
    Mutant(
        "an Idempotency-Key is ignored",
        (
            Change(
                "shared/engine.py", "derived_id(caller.name.encode(), key.encode(), new.raw) if key", "new_id() if key"
            ),
        ),
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
    ),
    Mutant(
        "the tokens of an end are not counted",
        (Change("shared/transitions/response_transitions.py", "usage=ending.usage", "usage=record.usage"),),
    ),
    Mutant(
        "a response of another caller is shown",
        (Change("shared/lifecycle/ownership.py", "record.caller != caller.name or", ""),),
    ),
    Mutant(
        "a signature covers one byte more than is sent",
        (Change("shared/deliveries/sending.py", "now_ms // 1000, body)}", 'now_ms // 1000, body + b" ")}'),),
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
        seconds=60,
    ),
)
