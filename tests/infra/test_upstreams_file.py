"""The file of several upstreams is read before a deployment: the app would refuse it only at the end."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from infra.hooks.upstreams_file import FOREGROUND_S, check_upstreams, entries
from infra.hooks.values import WrongValue
from shared.core.errors import SettingsError
from shared.settings import load_settings
from shared.upstreams.specs import MAX_UPSTREAMS
from tests.infra.azd_hooks import run
from tests.infra.vaults import Vault

NAME = "upstreams.json"
SAID = {"UPSTREAMS": NAME}
ONE: dict[str, Any] = {"name": "a", "base_url": "https://a.example/v1"}
VLLM = {"name": "vllm", "base_url": "https://b.example/v1", "mode": "foreground", "key_setting": "VLLM_KEY"}
LEAST = {"CALLERS": '[{"name": "a"}]', "AzureWebJobsStorage__accountName": "a"}
WRONG = {
    "no JSON": "{",
    "no list": json.dumps(ONE),
    "an empty list": "[]",
    "no object": '["a"]',
    "no name": json.dumps([{"base_url": ONE["base_url"]}]),
    "an empty name": json.dumps([{**ONE, "name": ""}]),
    "no address": '[{"name": "a"}]',
    "a number as an address": '[{"name": "a", "base_url": 7}]',
    "a name twice": json.dumps([ONE, ONE]),
    "too many": json.dumps([{**ONE, "name": f"a{n}"} for n in range(MAX_UPSTREAMS + 1)]),
}


def written(folder: Path, *listed: dict[str, Any]) -> Path:
    """Write a file of upstreams, and return its folder."""
    (folder / NAME).write_text(json.dumps(listed), encoding="utf-8")
    return folder


def test_upstreams_of_a_file_are_taken(tmp_path: Path) -> None:
    """Each entry is returned as it is."""
    assert entries(SAID, written(tmp_path, ONE, VLLM)) == [ONE, VLLM]
    assert entries({}, tmp_path) == []


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_the_app_would_refuse_is_refused(text: str, tmp_path: Path) -> None:
    """The app refuses the same text, at the end of a deployment."""
    (tmp_path / NAME).write_text(text, encoding="utf-8")
    with pytest.raises(WrongValue, match=r"upstreams\.json"):
        check_upstreams(SAID, tmp_path)
    with pytest.raises(SettingsError):
        load_settings({**LEAST, "UPSTREAMS": text})


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """The error of a byte is one of the file."""
    (tmp_path / NAME).write_bytes(b"[\xff]")
    with pytest.raises(WrongValue, match="cannot be read as JSON"):
        entries(SAID, tmp_path)


@pytest.mark.parametrize(
    "name", ["nofile.json", "/etc/x.json", "../upstreams.json", "upstreams.yaml", "a b.json", "[]"]
)
def test_a_file_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    """So is what is no name of a file beside the app."""
    with pytest.raises(WrongValue, match="UPSTREAMS"):
        entries({"UPSTREAMS": name}, tmp_path)


@pytest.mark.parametrize("name", ["package.json", "callers.json"])
def test_a_file_that_is_not_deployed_is_refused(name: str, tmp_path: Path) -> None:
    """It is here and not in the package, so the app would not find it."""
    (tmp_path / name).write_text(json.dumps([ONE]), encoding="utf-8")
    with pytest.raises(WrongValue, match="funcignore"):
        entries({"UPSTREAMS": name}, tmp_path)


@pytest.mark.parametrize(
    ("member", "value", "switch"),
    [
        ("key_setting", "VLLM_KEY", "UPSTREAM_KEYS_IN_VAULT"),
        ("key_setting", "UPSTREAM_API_KEY", "UPSTREAM_API_KEY_IN_VAULT"),
        ("webhook_secret_setting", "UPSTREAM_WEBHOOK_SECRET", "UPSTREAM_WEBHOOKS"),
        ("secret_headers", {"x-key": "GATEWAY"}, "UPSTREAM_KEYS_IN_VAULT"),
    ],
)
def test_a_secret_that_the_app_does_not_get_is_refused(member: str, value: Any, switch: str, tmp_path: Path) -> None:
    """The text names the switch by which the vault holds it, and with the switch the file is taken."""
    app = written(tmp_path, {**ONE, member: value})
    with pytest.raises(WrongValue, match=f"azd env set {switch} true"):
        check_upstreams(SAID, app)
    check_upstreams({**SAID, switch: "true"}, app)
    check_upstreams({**SAID, "UPSTREAM_KEYS_IN_VAULT": "true"}, app)


def test_a_deadline_that_no_foreground_call_can_have_is_refused(tmp_path: Path) -> None:
    """The template knows the mode of one upstream, and not those in the file."""
    app, keys = written(tmp_path, ONE, VLLM), {**SAID, "UPSTREAM_KEYS_IN_VAULT": "true"}
    check_upstreams({**keys, "RESPONSE_DEADLINE_S": str(FOREGROUND_S)}, app)
    with pytest.raises(WrongValue, match="RESPONSE_DEADLINE_S must be at most 21000, because 'vllm' of"):
        check_upstreams({**keys, "RESPONSE_DEADLINE_S": str(FOREGROUND_S + 1)}, app)
    deadline = {"RESPONSE_DEADLINE_S": str(FOREGROUND_S + 1), "UPSTREAM_KEYS": '{"VLLM_KEY": "x"}'}
    with pytest.raises(SettingsError, match=f"1 to {FOREGROUND_S}$"):
        load_settings({**LEAST, **deadline, "UPSTREAMS": json.dumps([ONE, VLLM])})


def test_the_first_hook_ends_before_anything_is_made(tmp_path: Path, vault: Vault) -> None:
    """It names the file, and asks Azure for nothing."""
    done = run("prerequisites", tmp_path, vault, UPSTREAMS="nofile.json")
    assert (done.returncode, vault.calls) == (1, [])
    assert f"UPSTREAMS is nofile.json, and there is no such file beside host.json.{os.linesep}" in done.stderr
