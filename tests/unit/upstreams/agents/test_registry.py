"""The deployment's module of agents: present, missing or broken. It is imported when a request names an agent."""

import subprocess
import sys
from pathlib import Path

import pytest

from local.stack.process import ROOT
from shared.core.errors import BadRequest, Misconfigured, SettingsError
from shared.settings import load_settings
from shared.upstreams.agents.registry import Agents
from tests.support.log_capture import WrittenLines, log_events
from tests.unit.test_settings import LEAST


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory from which modules can be imported."""
    sys.path.insert(0, str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def _restored() -> object:
    known, places = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = places
    for name in set(sys.modules) - known:
        if name.startswith("staff_"):
            del sys.modules[name]


def agents_of(directory: Path, name: str, text: str) -> Agents:
    """Return the agents of a module with this text."""
    (directory / f"{name}.py").write_text(text, encoding="utf-8")
    return Agents(name)


def test_agents_are_made_by_their_factories(directory: Path) -> None:
    """Each call of `create` returns a new agent. `check` creates none."""
    agents = agents_of(directory, "staff_good", "made = []\nAGENTS = {'clerk': lambda: made.append(1) or len(made)}\n")
    agents.check("clerk")
    assert [str(agents.create("clerk")) for _ in range(2)] == ["1", "2"]


def test_the_error_for_an_unknown_agent_lists_the_agents(directory: Path) -> None:
    """The error lists the agents, because the caller may have mistyped the name."""
    agents = agents_of(directory, "staff_two", "AGENTS = {'b': None, 'a': None}\n")
    with pytest.raises(BadRequest, match="agent:a, agent:b") as refused:
        agents.check("c")
    assert (refused.value.param, refused.value.code) == ("model", "model_not_found")


@pytest.mark.parametrize("name", ["staff_nowhere", "staff_nowhere.agents"])
def test_a_deployment_without_agents_has_no_such_model(name: str) -> None:
    """By default a deployment has no module of agents, and the error says so."""
    with pytest.raises(BadRequest, match=f"no module '{name}'"):
        Agents(name).check("clerk")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("staff_raises", "raise RuntimeError('sk-geheim')\n"),
        ("staff_syntax", "def\n"),
        ("staff_bare", ""),
        ("staff_list", "AGENTS = ['clerk']\n"),
        ("staff_import", "import no_such_package_anywhere\n"),
    ],
)
def test_a_broken_module_is_the_deployments_fault(directory: Path, written: WrittenLines, name: str, text: str) -> None:
    """Callers get a 500 without details, which are in the log. Every request tries the import again."""
    agents = agents_of(directory, name, text)
    for _ in range(2):
        with pytest.raises(Misconfigured) as broken:
            agents.check("clerk")
        assert (broken.value.status, broken.value.code) == (500, "agents_broken")
        assert "geheim" not in broken.value.message
    assert log_events(written) == ["agents.broken"] * 2


def test_the_examples_are_a_module_of_agents() -> None:
    """They define two agents. Importing them does not import Agent Framework."""
    program = "import sys, examples.agents; print(sorted(examples.agents.AGENTS), 'agent_framework' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[0] == "['dispatcher', 'editor'] False"


@pytest.mark.parametrize("name", ["a b", "a..b", "1a", "agents.py/"])
def test_the_setting_is_a_modules_name(name: str) -> None:
    """AGENTS_MODULE must be the name of a module. Any other value is refused at startup."""
    with pytest.raises(SettingsError, match="AGENTS_MODULE"):
        load_settings({**LEAST, "AGENTS_MODULE": name})
    assert load_settings(LEAST).agents_module == "agents"
