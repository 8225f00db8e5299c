"""The deployment refuses each text that the app would refuse: the checks in Bicep take nothing else."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from infra.hooks.first_caller import elements
from shared.core.errors import SettingsError
from shared.settings import load_settings
from tests.infra.compiler import Compiler, Refused
from tests.infra.parameters import LEAST, variable
from tests.infra.project import Project, texts, written
from tests.infra.settings import read_by_code

# The check of each text in infra/modules/checks.bicep, and texts for it beside those that are tried with all.
CHECKED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "UPSTREAM_BASE_URL": (
        "urlOf",
        (
            *("https://a.example/v1?x=1", "https://a.example/v1#x", "https://", "https:///v1", "https://:443/v1"),
            *("https://a:99999/v1", "https://a:x/v1", "https://?x", "ftp://a.example", "https://[::1/v1"),
        ),
    ),
    "UPSTREAM_MAX_IN_FLIGHT": ("limitOf", ("0", "000", "-1", "+5", "1.0", "100001", "1000000", "0x5", "1 0", "1e3")),
    "AGENTS_MODULE": ("moduleOf", ("a b", "a-b", "2a", "a..b", ".a", "a.", "a.2b", "a/b", "desk.staff!")),
    "REQUESTS_CALLER": ("callerOf", ("n" * 65, "n" * 1000)),
    "PRICES": (
        "pricesOf",
        (
            *("gpt-5", "gpt-5=", "gpt-5=1", "=1/2", " =1/2", "a=1/2/3/4", "a=1//2", "a=1/2/", "a=x/2", "a=-1/2"),
            *("a=+1/2", "a=1./2", "a=.5/2", "a=1.5.5/2", "a=1234567/2", "a=1.1234567/2", "a=1e3/2", "a=1/2,a=3/4"),
            *("a=1/2;b=3/4", "a=1/2, a =3/4"),
        ),
    ),
    "UPSTREAMS": ("fileOf", ("upstreams", "a.yaml", "a.JSON", "a.b.json", "../a.json", "a/b.json", ".json", "a json")),
}
ALL = (
    "a b",
    "?",
    "!",
    "x\u00e4",
    "a,b",
    "'",
    '"',
    "[",
    "{}",
    "http:",
    "=",
    ".",
    "/",
    "-",
    "*",
    "9" * 20,
    "0.5",
    "true",
)
# The app takes every text of these.
FREE = {"UPSTREAM_SCOPE", "REPLY_QUEUES"}


def refused_by_the_app(name: str, text: str) -> bool:
    """Return whether the app would not start with a text. It has the callers that a hook makes."""
    callers = json.dumps(elements("key", "", text.strip() if name == "REQUESTS_CALLER" else ""))
    try:
        load_settings({**LEAST, "CALLERS": callers, name: text})
    except SettingsError:
        return True
    return False


def rows() -> Iterator[tuple[str, str]]:
    """Yield each setting with each text that the app refuses."""
    for name, (_, own) in CHECKED.items():
        yield from ((name, text) for text in (*own, *ALL) if refused_by_the_app(name, text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the Bicep files."""
    return written(texts(), tmp_path_factory.mktemp("bicep")) / "infra"


def answer(folder: Path, compiler: Compiler, name: str, text: str) -> str:
    """Return what the check of a setting answers for a text. Raises Refused."""
    check = CHECKED[name][0]
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    (folder / "said.bicep").write_text(
        f"import {{ {check} }} from 'modules/checks.bicep'\noutput said string = {check}('{quoted}')\n",
        encoding="utf-8",
    )
    path = folder / "said.bicepparam"
    path.write_text("using 'said.bicep'\n", encoding="utf-8")
    return str(compiler.snapshot(path)["outputs"]["said"])


@pytest.mark.parametrize("name", CHECKED)
def test_what_the_app_refuses_is_refused(name: str, folder: Path, compiler: Compiler) -> None:
    """Each text ends the deployment before it begins, with an error that names the variable."""
    tried = [text for setting, text in rows() if setting == name]
    assert tried
    for text in tried:
        with pytest.raises(Refused, match=name):
            answer(folder, compiler, name, text)


def test_every_text_of_the_app_is_checked(real: Project) -> None:
    """A parameter that any text may be given to, and that the app reads, has a check here or needs none."""
    declared = real.compiled.template["parameters"]
    any_text = {
        variable(name) for name, one in declared.items() if one["type"] == "string" and "allowedValues" not in one
    }
    assert any_text & read_by_code() == CHECKED.keys() | FREE
    assert not [(name, text) for name in FREE for text in ALL if refused_by_the_app(name, text)]


def test_the_template_asks_the_checks(real: Project) -> None:
    """Each parameter reaches the app's settings through its check."""
    text = real.text("infra/main.bicep")
    for name, (check, _) in CHECKED.items():
        (parameter,) = [one for one in real.compiled.template["parameters"] if variable(one) == name]
        assert f"checks.{check}({parameter}" in text
