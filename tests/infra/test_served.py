"""Of several upstreams, the hook finds the one that serves a model, and its key, as the app does."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.hooks.served import API_KEY, DEPLOYED, KEYS, listed, served
from shared.upstreams.specs import parse_upstreams

URL = "https://a.example/v1"
UPSTREAMS: list[dict[str, Any]] = [
    {"name": "one", "base_url": f"{URL}/1", "models": ["gpt-5*", "o4-mini"]},
    {"name": "two", "base_url": f"{URL}/2", "models": ["gpt-5-mini", "llama-*-x"], "key_setting": "TWO_KEY"},
    {"name": "three", "base_url": f"{URL}/3", "models": ["a.c"]},
]
FILE = {"UPSTREAMS": "upstreams.json"}
KEY_ROWS: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({}, {}, ""),
    ({}, {"UPSTREAM_API_KEY_IN_VAULT": "true", "UPSTREAM_KEYS_IN_VAULT": "true"}, ""),  # they are for others
    ({"key_setting": "VLLM_KEY"}, {"UPSTREAM_KEYS_IN_VAULT": "true"}, f"'VLLM_KEY' in {KEYS}"),
    ({"key_setting": "UPSTREAM_API_KEY"}, {"UPSTREAM_API_KEY_IN_VAULT": "true"}, API_KEY),
    ({"key_setting": "UPSTREAM_API_KEY"}, {"UPSTREAM_KEYS_IN_VAULT": "true"}, f"'UPSTREAM_API_KEY' in {KEYS}"),
    ({"secret_headers": {"x-key": "HEADER_KEY"}}, {"UPSTREAM_KEYS_IN_VAULT": "true"}, f"'HEADER_KEY' in {KEYS}"),
]


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5-mini", "o4-mini", "llama-3-x", "llama-3", "a.c", "abc", "gpt-4", ""])
def test_the_upstream_is_the_one_that_the_app_takes(model: str) -> None:
    """It is the first with a pattern for the model. If none has one, the file has no such model."""
    specs = parse_upstreams(json.dumps(UPSTREAMS), lambda _: "key")
    expected = next((spec.base_url for spec in specs if spec.serves(model)), "")
    found = served(model, FILE, UPSTREAMS)
    assert found.url == expected
    assert found.called == (f"the upstream of '{model}' in upstreams.json" if expected else "upstreams.json")
    assert found.place == "upstreams.json"


@pytest.mark.parametrize(("members", "environment", "key"), KEY_ROWS)
def test_the_key_is_where_the_app_finds_it(members: dict[str, Any], environment: dict[str, str], key: str) -> None:
    """A setting goes before a member of the same name. Without both, the app sends a token."""
    assert served("gpt-5", {**FILE, **environment}, [{"base_url": URL, **members}]).key == key


def test_the_default_upstream_serves_what_no_other_does() -> None:
    """It comes last, and has its own key. Without any upstream it is the model that was deployed."""
    environment = {**FILE, "UPSTREAM_BASE_URL": URL, "UPSTREAM_API_KEY_IN_VAULT": "true"}
    found = served("gpt-4", environment, UPSTREAMS)
    assert (found.called, found.place, found.key) == (URL, "UPSTREAM_BASE_URL", API_KEY)
    assert served("gpt-5-mini", {}, None).called == DEPLOYED


@pytest.mark.parametrize("models", [None, 5, "gpt-5", {"gpt-5": 1}])
def test_an_entry_that_the_app_refuses_serves_nothing(models: object) -> None:
    """The app says what is wrong with it. The hook does not end with a traceback."""
    assert served("gpt-5", FILE, [{"models": models}]).called == "upstreams.json"


@pytest.mark.parametrize("content", [None, "", "{", '{"a": 1}', '"x"', "\xff"])
def test_a_file_that_is_no_list_is_unknown(content: "str | None", tmp_path: Path) -> None:
    """Then a key is one of the vault's upstream-keys, if it has them."""
    if content is not None:
        (tmp_path / "upstreams.json").write_bytes(content.encode("latin-1"))
    assert listed(FILE, tmp_path) is None
    assert served("m", {**FILE, "UPSTREAM_KEYS_IN_VAULT": "true"}, None).key == KEYS
    assert served("m", FILE, None).key == ""


def test_a_file_is_read_beside_the_app(tmp_path: Path) -> None:
    """Without the setting there is none."""
    (tmp_path / "upstreams.json").write_text(json.dumps([*UPSTREAMS, "x"]))
    assert listed(FILE, tmp_path) == UPSTREAMS
    assert listed({}, tmp_path) is None
    assert listed({"UPSTREAMS": ""}, tmp_path) is None
