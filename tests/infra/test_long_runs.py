"""Work that may be cut off by its instance is warned of before a deployment. What keeps an instance is priced."""

import json
import re
from pathlib import Path

import pytest

from infra.hooks.long_runs import DEADLINE_S, SAFE_S, warning
from infra.hooks.values import WrongValue
from local.bench.always_ready import GROUPS, MONTH_S, Prices, break_even, busy, idle, table
from local.stack.process import ROOT
from tests.infra.azd_hooks import run
from tests.infra.vaults import Vault

FOREGROUND = {"UPSTREAM_MODE": "foreground"}
LISTED = {"UPSTREAMS": "upstreams.json"}
BOTH = {**LISTED, "UPSTREAM_BASE_URL": "https://a.example/v1"}
UPSTREAMS = [
    {"name": "france", "models": ["gpt*"], "base_url": "https://a.example/v1"},
    {"name": "vllm", "mode": "foreground", "base_url": "https://b.example/v1"},
]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """Return the folder of an app without agents, whose second listed upstream has no background mode."""
    (tmp_path / "upstreams.json").write_text(json.dumps(UPSTREAMS), encoding="utf-8")
    return tmp_path


def test_work_without_background_mode_is_warned_of_by_default(app: Path) -> None:
    """The default deadline is four hours. The text has both ways out, and where to read what they cost."""
    said = warning(FOREGROUND, app)
    assert said.startswith(f"Warning: RESPONSE_DEADLINE_S is {DEADLINE_S}, ")
    assert "UPSTREAM_MODE is foreground" in said
    assert "azd env set ALWAYS_READY_RUN 1 " in said
    assert f"azd env set RESPONSE_DEADLINE_S {SAFE_S} " in said
    chapter = re.findall(r"docs/deploy\.md, '([^']+)'", said)[0]
    assert f"## {chapter}\n" in (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def test_the_default_deadline_is_that_of_the_parameters() -> None:
    """The hook does not read them, because azd does not pass them on."""
    parameters = (ROOT / "infra" / "main.bicepparam").read_text(encoding="utf-8")
    assert f"readEnvironmentVariable('RESPONSE_DEADLINE_S', '{DEADLINE_S}')" in parameters


@pytest.mark.parametrize("given", [{"RESPONSE_DEADLINE_S": "3600"}, {"ALWAYS_READY_RUN": "1"}])
def test_an_hour_or_an_instance_that_stays_is_enough(given: dict[str, str], app: Path) -> None:
    """Either ends the warning."""
    assert warning({**FOREGROUND, **given}, app) == ""


@pytest.mark.parametrize(
    "given", [{"RESPONSE_DEADLINE_S": "3601"}, {"ALWAYS_READY_RUN": "0"}, {"ALWAYS_READY_HTTP": "5"}]
)
def test_nothing_less_is_enough(given: dict[str, str], app: Path) -> None:
    """A second more than an hour is too long, and instances for HTTP run no queue function."""
    assert "Warning" in warning({**FOREGROUND, **given}, app)


def test_background_mode_needs_no_warning(app: Path) -> None:
    """Such work is polled, so it does not matter which instance is there."""
    assert warning({"RESPONSE_DEADLINE_S": "604800"}, app) == ""


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (LISTED, ["vllm"]),
        ({**LISTED, **FOREGROUND}, ["vllm"]),
        ({**BOTH, **FOREGROUND}, ["UPSTREAM_MODE", "vllm"]),
    ],
)
def test_each_upstream_without_background_mode_is_named(given: dict[str, str], named: list[str], app: Path) -> None:
    """Those of the list count, and the one of the settings if the app uses it: beside a list only with its address."""
    said = warning(given, app)
    assert [name for name in ("UPSTREAM_MODE", "france", "vllm") if name in said] == named
    assert bool(said) == bool(named)


def test_a_file_that_is_not_there_is_no_upstream_in_background_mode(app: Path) -> None:
    """The hook does not go on as if there were nothing to warn of."""
    with pytest.raises(WrongValue, match=r"nowhere\.json"):
        warning({"UPSTREAMS": "nowhere.json"}, app)


@pytest.mark.parametrize(
    ("file", "given"),
    [("agents.py", {}), ("agents/__init__.py", {}), ("desk/staff.py", {"AGENTS_MODULE": "desk.staff"})],
)
def test_agents_have_no_background_mode(file: str, given: dict[str, str], app: Path) -> None:
    """They run in an instance of the app. The deployment brings the module that the setting names."""
    assert warning(given, app) == ""
    (app / file).parent.mkdir(exist_ok=True)
    (app / file).touch()
    assert f"the agents in {file.removesuffix('/__init__.py').removesuffix('.py')}." in warning(given, app)


def test_a_number_that_is_none_is_left_to_the_template(app: Path) -> None:
    """The hook neither fails nor guesses. `main.bicepparam` ends the deployment."""
    assert warning({**FOREGROUND, "RESPONSE_DEADLINE_S": "long"}, app) == ""


def test_the_first_hook_prints_the_warning_and_goes_on(tmp_path: Path, vault: Vault) -> None:
    """A deployment is not stopped by it. Without such work nothing is printed."""
    done = run("prerequisites", tmp_path, vault, **FOREGROUND)
    assert (done.returncode, done.stdout.count("Warning: RESPONSE_DEADLINE_S")) == (0, 1)
    assert "Warning" not in run("prerequisites", tmp_path, vault).stdout


def test_the_page_has_the_figures_of_the_script() -> None:
    """The table, the formula's prices and the break-even are those that the program prints."""
    prices = Prices()
    chapter = (ROOT / "docs" / "deploy.md").read_text("utf-8").partition("## Instances that are always ready\n")[2]
    chapter = chapter.partition("\n## ")[0]
    assert table(prices) in chapter
    for price in (prices.baseline, prices.busy, prices.on_demand):
        assert f"${price:f}" in chapter
    assert f"{break_even(prices):.0%}".replace("%", " %") in " ".join(chapter.split())
    assert f"{MONTH_S / 1e6:.1f} million" in chapter


def test_the_costs_are_those_of_an_instance() -> None:
    """Twice the memory costs twice as much. At the break-even an instance costs the same in both ways."""
    prices = Prices(baseline=1e-6, busy=2e-6, on_demand=6e-6)
    assert idle(4, prices) == 2 * idle(2, prices) == pytest.approx(4 * MONTH_S * 1e-6)
    assert busy(1, prices) == pytest.approx(MONTH_S * 3e-6)
    share = break_even(prices)
    assert share == pytest.approx(0.25)
    assert prices.baseline + share * prices.busy == pytest.approx(share * prices.on_demand)
    assert break_even(Prices(busy=1.0, on_demand=1.0)) == float("inf")


def test_the_groups_are_those_of_the_app() -> None:
    """All routes are one group, and each function of a queue or a timer is one by itself."""
    text = (ROOT / "functions" / "queues.py").read_text(encoding="utf-8")
    functions = re.findall(r"^@blueprint\.(?:queue|timer)_trigger.*\nasync def (\w+)\(", text, re.MULTILINE)
    assert ("http", *functions) == GROUPS
    others = [path.read_text(encoding="utf-8") for path in (ROOT / "functions").glob("*.py") if path.stem != "queues"]
    assert not [one for one in others if "queue_trigger(" in one or "timer_trigger(" in one]
