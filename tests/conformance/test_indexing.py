"""What Microsoft's worker reports to the host about the app: every function, by the host's own rules.

Neither the host's own refusals nor its key checks can be shown without the host: the rules for names are repeated here.
"""

import re

from tests.conformance.conftest import Running
from tests.conformance.hosting import routes
from tests.unit.functions.test_function_app import AT_ROOT, BASES, ELSEWHERE, OPERATIONS

QUEUES = {"sweep": "nudges", "deliver": "deliveries", "run": "runs", "take_request": "requests"}
TIMERS = {"heartbeat": "0 * * * * *", "tend_poison": "30 */5 * * * *"}
HTTP = {name + suffix for name in OPERATIONS for suffix in BASES} | AT_ROOT.keys() | ELSEWHERE.keys()


def test_every_function_is_reported(running: Running) -> None:
    """The same as the app registers, none left out and none invented."""
    worker = running.worker
    assert set(worker.named("httpTrigger")) == HTTP
    assert set(worker.named("queueTrigger")) == QUEUES.keys()
    assert set(worker.named("timerTrigger")) == TIMERS.keys()
    assert worker.reported.keys() == HTTP | QUEUES.keys() | TIMERS.keys()


def test_every_function_can_be_loaded(running: Running) -> None:
    """The host asks for each by its id before it sends anything."""
    assert all(running.worker.load(name)["succeeded"] for name in running.worker.reported)


def test_the_ids_are_distinct(running: Running) -> None:
    """An invocation names its function by nothing else."""
    assert len({one["id"] for one in running.worker.reported.values()}) == len(running.worker.reported)


def test_names_pass_the_hosts_rules(running: Running) -> None:
    """The worker passes on what the host then refuses: a function named so, a binding named so."""
    for name, one in running.worker.reported.items():
        assert re.fullmatch(r"(?i)(?!host$)[a-z][a-z0-9_-]{0,127}", name)
        for binding in one["raw_bindings"]:
            assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9]{0,127}|\$return", binding["name"])


def test_a_function_has_one_trigger(running: Running) -> None:
    """It is the first binding; what comes with an HTTP trigger is its answer, and nothing else has an output."""
    for one in running.worker.reported.values():
        trigger, *others = ((binding["type"], binding["direction"].lower()) for binding in one["raw_bindings"])
        assert trigger[1] == "in"
        assert others == ([("http", "out")] if trigger[0] == "httpTrigger" else [])


def test_queues_and_schedules_are_reported(running: Running) -> None:
    """The host polls and rings by what it is told here."""
    received = {name: one["raw_bindings"][0] for name, one in running.worker.reported.items()}
    assert {name: received[name]["queueName"] for name in QUEUES} == QUEUES
    assert {received[name]["connection"] for name in QUEUES} == {"AzureWebJobsStorage"}
    assert {name: received[name]["schedule"] for name in TIMERS} == TIMERS


def test_routes_lead_to_what_they_name(running: Running) -> None:
    """In the order of names the answer to everything else comes last, so every other route is reached."""
    assert routes(running.worker)[-1].function.name == "unmatched"
