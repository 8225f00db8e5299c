"""The OpenAPI document as the service answers it, and what it says about a value."""

import json
from collections.abc import Iterator
from typing import Any

from openapi_schema_validator import OAS31Validator, oas31_format_checker

from functions.description import document

Json = dict[str, Any]
DOCUMENT: Json = json.loads(document().body)
SCHEMAS: Json = DOCUMENT["components"]["schemas"]


def operations() -> Iterator[tuple[str, str, Json]]:
    """Yield the path, the method and the description of each operation."""
    for path, described in DOCUMENT["paths"].items():
        for method, operation in described.items():
            if method != "servers":
                yield path, method.upper(), operation


def operation_named(name: str) -> Json:
    """Return the operation with this id."""
    return next(one for _, _, one in operations() if one["operationId"] == name)


def parameters_of(operation: Json, place: str) -> dict[str, Json]:
    """Return the schemas of an operation's parameters in the path, the query or the headers, by name."""
    return {one["name"]: one["schema"] for one in operation["parameters"] if one["in"] == place}


def resolved(value: Json) -> Json:
    """Return what a reference of the document names, or the value itself."""
    found = value
    while "$ref" in found:
        named: Any = DOCUMENT
        for step in found["$ref"].removeprefix("#/").split("/"):
            named = named[step]
        found = named
    return found


def faults_in(schema: Json, value: object, *, closed: bool = False) -> list[str]:
    """Return what is wrong with a value by a schema of the document.

    With `closed`, also each member that an object has and its schema does not name, unless the schema says that there
    may be others.
    """
    components = {"schemas": CLOSED if closed else SCHEMAS}
    whole = {**(_closed(schema) if closed else schema), "components": components}
    validator = OAS31Validator(whole, format_checker=oas31_format_checker)
    return [f"{error.json_path}: {error.message[:500]}" for error in validator.iter_errors(value)]


def answer_faults(operation: str, status: int, body: object) -> list[str]:
    """Return what is wrong with the JSON answer of an operation, also each member that its schema does not name.

    A 405 is the answer to another method of its path.
    """
    answers = operation_named(operation)["responses"]
    if status == 405:
        return faults_in({"$ref": "#/components/schemas/Error"}, body, closed=True)
    shown = resolved(answers.get(str(status)) or answers[f"{status // 100}XX"])
    return faults_in(shown["content"]["application/json"]["schema"], body, closed=True)


def check(name: str, value: object, *, closed: bool = True) -> None:
    """Assert that a value is as the schema of this name says."""
    assert name in SCHEMAS
    found = faults_in({"$ref": f"#/components/schemas/{name}"}, value, closed=closed)
    assert not found, found


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(one) for name, one in schema.items()}
    is_record = schema.get("type") == "object" and "properties" in schema
    return {"additionalProperties": False, **found} if is_record else found


CLOSED: Json = _closed(SCHEMAS)
