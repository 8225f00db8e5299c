"""The deployment's module of agents: found, missing, or broken; read when an agent is asked for, and not before."""

import subprocess
import sys
from pathlib import Path

import pytest

from local.stack.process import ROOT
from shared.core.errors import BadRequest, Misconfigured, SettingsError
from shared.settings import load_settings
from shared.upstreams.agents.registry import Agents
from tests.support.log_capture import log_events
from tests.unit.test_settings import LEAST


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give a directory that modules can be imported from."""
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


def written(directory: Path, name: str, text: str) -> Agents:
    """Return the agents of a module with this text."""
    (directory / f"{name}.py").write_text(text, encoding="utf-8")
    return Agents(name)


def test_agents_are_made_by_their_factories(directory: Path) -> None:
    """A new one each time, and none by looking for it."""
    agents = written(directory, "staff_good", "made = []\nAGENTS = {'clerk': lambda: made.append(1) or len(made)}\n")
    agents.check("clerk")
    assert [str(agents.create("clerk")) for _ in range(2)] == ["1", "2"]


def test_an_unknown_agent_is_told_who_there_is(directory: Path) -> None:
    """The caller may have mistyped the name."""
    agents = written(directory, "staff_two", "AGENTS = {'b': None, 'a': None}\n")
    with pytest.raises(BadRequest, match="agent:a, agent:b") as refused:
        agents.check("c")
    assert (refused.value.param, refused.value.code) == ("model", "model_not_found")


@pytest.mark.parametrize("name", ["staff_nowhere", "staff_nowhere.agents"])
def test_a_deployment_without_agents_has_no_such_model(name: str) -> None:
    """The default is no module of that name."""
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
def test_a_broken_module_is_the_deployments_fault(
    directory: Path, caplog: pytest.LogCaptureFixture, name: str, text: str
) -> None:
    """A 500 that tells callers nothing of it, and the log all; every request tries again."""
    agents = written(directory, name, text)
    for _ in range(2):
        with pytest.raises(Misconfigured) as broken:
            agents.check("clerk")
        assert (broken.value.status, broken.value.code) == (500, "agents_broken")
        assert "geheim" not in broken.value.message
    assert log_events(caplog) == ["agents.broken"] * 2


def test_the_examples_are_such_a_module() -> None:
    """Their import needs no framework; their factories make agents, one of them with tools."""
    program = "import sys, examples.agents; print(sorted(examples.agents.AGENTS), 'agent_framework' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[0] == "['dispatcher', 'editor'] False"


@pytest.mark.parametrize("name", ["a b", "a..b", "1a", "agents.py/"])
def test_the_setting_is_a_modules_name(name: str) -> None:
    """Anything else is refused at the start."""
    with pytest.raises(SettingsError, match="AGENTS_MODULE"):
        load_settings({**LEAST, "AGENTS_MODULE": name})
    assert load_settings(LEAST).agents_module == "agents"
