"""The error codes of the document are those of the code, both ways."""

import ast
from collections.abc import Iterator

import orjson

from functions import answers, http, operators
from shared.contract import stream_events
from shared.core import errors
from shared.core.errors import ServiceError, UpstreamUnusable
from shared.core.states import Status, WaitReason
from shared.lifecycle import endings
from shared.openapi import faults
from shared.runtime import quotas
from tests.support.described_api import SCHEMAS, check
from tests.support.source_trees import MODULES, constructed

ON_QUEUES = {"shared.storage.messages", "shared.scheduler.dead_letters"}
"""The modules whose errors are about queued requests, and are no answers."""
# What an expression in place of a code may be. Those of an upstream are its own.
CODES: dict[str, set[str]] = {"refused.code": set(), "sight.reason": {WaitReason.UPSTREAM_DOWN, WaitReason.CREDENTIALS}}
CLASSES = {
    name: kind
    for module in (errors, answers, operators, quotas, http)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, ServiceError) and kind is not errors.RefusedByUpstream
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls of a module with the names of what they call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
            yield str(name), node


def raised() -> set[tuple[int, str | None]]:
    """Return the status and the code of every error that the code makes for an answer."""
    found: set[tuple[int, str | None]] = set()
    for module, tree in MODULES.items():
        for name, call in calls(tree) if module not in ON_QUEUES else ():
            if name == "CallbackUrlRefused":
                found.add((400, f"callback_url_{ast.literal_eval(call.args[0])}"))
            if name in CLASSES:
                found |= {(CLASSES[name].status, code) for code in _codes(name, call)}
    return found


def _codes(name: str, call: ast.Call) -> set[str | None]:
    given = next((one.value for one in call.keywords if one.arg == "code"), None)
    if given is None:
        return {CLASSES[name]("").code}
    return {str(given.value)} if isinstance(given, ast.Constant) else {*CODES[ast.unparse(given)]}


def test_every_error_of_the_code_is_documented_and_the_reverse() -> None:
    """Each status with each of its codes. An error of the code without a code is null in the document."""
    documented = {(fault.status, fault.code) for fault in faults.ALL}
    assert documented - raised() == set()
    assert raised() - documented == set()


def failing(call: ast.Call) -> set[str]:
    """Return the codes in the first argument of a call that makes a failure. A name stands for its value."""
    first = call.args[0] if call.args else call
    words = {node.value for node in ast.walk(first) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = {getattr(endings, node.id, None) for node in ast.walk(first) if isinstance(node, ast.Name)}
    return words | {name for name in names if isinstance(name, str)}


def in_objects(tree: ast.AST) -> set[str]:
    """Return the codes that a module writes beside a `message`, as a text or as what stands in place of none."""
    found = set[str]()
    for node in ast.walk(tree):
        match _members(node):
            case {"code": ast.Constant(value=str(code)), "message": _}:
                found.add(code)
            case {"code": ast.BoolOp(op=ast.Or(), values=[*_, ast.Constant(value=str(code))]), "message": _}:
                found.add(code)
    return found


def _members(node: ast.AST) -> dict[object, ast.expr]:
    """Return the members of a dictionary in the code, by name."""
    names = node.keys if isinstance(node, ast.Dict) else []
    values = node.values if isinstance(node, ast.Dict) else []
    return {name.value: value for name, value in zip(names, values, strict=True) if isinstance(name, ast.Constant)}


def of_queued_requests() -> set[str]:
    """Return the codes with which only queued requests are refused. Such a response fails with that code."""
    made = (call for module in ON_QUEUES for name, call in calls(MODULES[module]) if name in CLASSES)
    given = (one.value for call in made for one in call.keywords if one.arg == "code")
    codes = {code.value for code in given if isinstance(code, ast.Constant) and isinstance(code.value, str)}
    return codes - {fault.code for fault in faults.ALL}


def test_every_reason_of_a_failed_response_is_documented_and_the_reverse() -> None:
    """These are the code's own. An upstream may name others."""
    found = {
        code
        for tree in MODULES.values()
        for name, call in calls(tree)
        if name in ("by_failure", "failure")
        for code in failing(call)
    }
    found |= {code for tree in MODULES.values() for code in in_objects(tree) - faults.STREAM_ERRORS.keys()}
    found |= of_queued_requests()
    unusable = {kind.code for kind in vars(errors).values() if _is_unusable(kind)}
    assert found | unusable == faults.FAILURES.keys()


def _is_unusable(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, UpstreamUnusable) and hasattr(kind, "code")


def test_the_codes_of_error_events_are_documented() -> None:
    """A cancellation and a stream that is cut off have codes of their own."""
    cut_off = orjson.loads(stream_events.interruption().partition(b"data: ")[2])
    cancelled = orjson.loads(stream_events.terminal_events(Status.CANCELLED, {"error": None})[0].body)
    assert {cut_off["code"], cancelled["code"]} == faults.STREAM_ERRORS.keys()


def test_an_error_has_the_form_of_the_document() -> None:
    """Every class of error, with and without a code."""
    for kind in CLASSES.values():
        check("Error", kind("No.").envelope())
    check("Error", errors.NotFound("No.", param="model", code="model_not_found").envelope())
    assert SCHEMAS["ErrorCode"]["description"].count("\n| 4") > 30


def test_the_queue_modules_make_errors_that_are_no_answers() -> None:
    """If one of them no longer makes an error, it is no exception any more."""
    for module in ON_QUEUES:
        assert constructed(MODULES[module]) & CLASSES.keys()


def test_no_group_has_an_error_twice() -> None:
    """Nor two meanings of one code that differ only in whether it is final."""
    groups = {name: group for name, group in vars(faults).items() if name.isupper() and isinstance(group, tuple)}
    assert groups.keys() > {"CALLER", "READY"}
    for name, group in groups.items():
        once = {(fault.status, fault.code, fault.meaning) for fault in group}
        assert len(group) == len(once) or name == "ALL", name


def test_what_is_final_is_documented_and_the_reverse() -> None:
    """The header `x-should-retry: false` comes with these. Those of an upstream are its own."""
    final = {
        (CLASSES[name].status, code)
        for tree in MODULES.values()
        for name, call in calls(tree)
        if name in CLASSES and CLASSES[name].is_final
        for code in _codes(name, call)
    }
    assert {(fault.status, fault.code) for fault in faults.ALL if fault.is_final} == final != set()


def test_codes_of_one_status_stand_together() -> None:
    """Each code has its meanings in one list, without repeats."""
    grouped = faults.by_status((*faults.BODY, *faults.PARAMETER, *faults.PARAMETER, *faults.LIMITED))
    assert list(grouped) == [400, 408, 413, 415, 429]
    assert len(set(grouped[400])) == len(grouped[400])
    assert faults.in_words(grouped[429]) == "- `rate_limit_exceeded`: The caller has used up one of its limits."
    assert faults.answer_schema(grouped[400], is_open=True) == {"$ref": "#/components/schemas/Error"}
    narrowed = faults.answer_schema(grouped[429], is_open=False)["allOf"][1]
    assert narrowed["properties"]["error"]["properties"]["code"] == {"enum": ["rate_limit_exceeded"]}
