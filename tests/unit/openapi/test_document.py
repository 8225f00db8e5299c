"""The document is valid, and docs/openapi.json is that document."""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from functions.description import BASES, document
from local.stack.process import ROOT
from shared.contract import signatures
from shared.contract.requests import EVENTS
from shared.openapi.document import VERSION, written
from tests.support.described_api import DOCUMENT, operations


def named(value: Any) -> Iterator[str]:
    """Yield what the references in a value name."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from named(one)
    if isinstance(value, list):
        for one in value:
            yield from named(one)


def test_the_document_is_valid() -> None:
    """By the rules of OpenAPI 3.1. Its references lead somewhere."""
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_nothing_of_the_components_is_left_over() -> None:
    """Each schema, header and answer is named somewhere."""
    parts = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "headers", "responses")
        for name in DOCUMENT["components"][kind]
    }
    assert parts == set(named(DOCUMENT))


def test_the_file_is_the_document() -> None:
    """`python -m local openapi` writes it."""
    assert (ROOT / "docs" / "openapi.json").read_bytes() == document().body, "run: .venv/bin/python -m local openapi"


def test_the_document_is_made_once() -> None:
    """And it names the version of the project."""
    assert document() is document()
    assert document().body == written(tuple(BASES.values()))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert DOCUMENT["info"]["version"] == VERSION == project["version"]


def test_every_operation_has_a_tag_that_is_explained() -> None:
    """And each of them is used."""
    assert {tag for _, _, one in operations() for tag in one["tags"]} == {tag["name"] for tag in DOCUMENT["tags"]}


def test_the_callbacks_are_the_events_of_the_code_with_the_headers_of_a_signature() -> None:
    """Each has the headers that are signed, or sign."""
    assert tuple(DOCUMENT["webhooks"]) == EVENTS
    sent = signatures.signed_headers([f"whsec_{'A' * 32}"], "evt_1", 1, b"{}")
    for call in DOCUMENT["webhooks"].values():
        assert {one["name"] for one in call["post"]["parameters"]} == sent.keys() - {"content-type"}
        assert all(one["required"] for one in call["post"]["parameters"])


def test_a_document_is_that_of_its_bases() -> None:
    """What probes ask is also served at the root."""
    other = json.loads(written(("here",)))
    assert other["servers"] == [{"url": "/here"}]
    assert other["paths"]["/health/live"]["servers"] == [{"url": "/"}, {"url": "/here"}]
    assert other["paths"]["/webhooks/upstream"]["servers"] == [{"url": "/"}]
