"""Microsoft's worker reports every function of the app, in the form that the host requires.

The host's refusals and key checks cannot be tested without the host, so its rules for names are repeated here.
"""

import re

from tests.conformance.conftest import Running
from tests.conformance.hosting import routes
from tests.unit.functions.test_function_app import AT_ROOT, BASES, ELSEWHERE, OPERATIONS

QUEUES = {"sweep": "nudges", "deliver": "deliveries", "run": "runs", "take_request": "requests"}
TIMERS = {"heartbeat": "0 * * * * *", "tend_poison": "30 */5 * * * *"}
HTTP = {name + suffix for name in OPERATIONS for suffix in BASES} | AT_ROOT.keys() | ELSEWHERE.keys()


def test_every_function_is_reported(running: Running) -> None:
    """The worker reports exactly the functions that the app registers."""
    worker = running.worker
    assert set(worker.named("httpTrigger")) == HTTP
    assert set(worker.named("queueTrigger")) == QUEUES.keys()
    assert set(worker.named("timerTrigger")) == TIMERS.keys()
    assert worker.reported.keys() == HTTP | QUEUES.keys() | TIMERS.keys()


def test_every_function_can_be_loaded(running: Running) -> None:
    """The host loads each function by its id before it sends invocations."""
    assert all(running.worker.load(name)["succeeded"] for name in running.worker.reported)


def test_the_ids_are_distinct(running: Running) -> None:
    """Each function has its own id, because an invocation names its function only by the id."""
    assert len({one["id"] for one in running.worker.reported.values()}) == len(running.worker.reported)


def test_names_pass_the_hosts_rules(running: Running) -> None:
    """Names of functions and bindings are valid. The worker does not check them, and the host refuses invalid ones."""
    for name, one in running.worker.reported.items():
        assert re.fullmatch(r"(?i)(?!host$)[a-z][a-z0-9_-]{0,127}", name)
        for binding in one["raw_bindings"]:
            assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9]{0,127}|\$return", binding["name"])


def test_a_function_has_one_trigger(running: Running) -> None:
    """The first binding is the trigger. An HTTP function also has an HTTP output, others have no output."""
    for one in running.worker.reported.values():
        trigger, *others = ((binding["type"], binding["direction"].lower()) for binding in one["raw_bindings"])
        assert trigger[1] == "in"
        assert others == ([("http", "out")] if trigger[0] == "httpTrigger" else [])


def test_queues_and_schedules_are_reported(running: Running) -> None:
    """The worker reports queues, connections and schedules. The host polls queues and fires timers accordingly."""
    received = {name: one["raw_bindings"][0] for name, one in running.worker.reported.items()}
    assert {name: received[name]["queueName"] for name in QUEUES} == QUEUES
    assert {received[name]["connection"] for name in QUEUES} == {"AzureWebJobsStorage"}
    assert {name: received[name]["schedule"] for name in TIMERS} == TIMERS


def test_the_route_of_unmatched_is_tried_last(running: Running) -> None:
    """The host tries routes in the order of function names. `unmatched` is last, so every other route is reached."""
    assert routes(running.worker)[-1].function.name == "unmatched"
