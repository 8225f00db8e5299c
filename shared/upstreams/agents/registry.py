"""The agents of a deployment. One of its Python modules maps their names to factories.

    AGENTS: Mapping[str, Callable[[], Agent]]

The module is imported when the first request names an agent. Agent Framework is imported only where an agent runs.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from shared.core.errors import BadRequest, Misconfigured
from shared.telemetry.logs import logger

if TYPE_CHECKING:
    from agent_framework import Agent

_log = logger(__name__)
_FRAMEWORK = "agent_framework"


class Agents:
    """The agents in the module with this dotted name. If it does not exist, the deployment has no agents."""

    def __init__(self, module: str) -> None:
        self._module = module

    def check(self, name: str) -> None:
        """Raise BadRequest if the agent does not exist, and Misconfigured if the module cannot be used."""
        self._factory(name)

    def names(self) -> list[str]:
        """Return the names of the agents. There are none where they cannot be used. Raises Misconfigured."""
        return sorted(self._known()) if _exists(_FRAMEWORK) and _exists(self._module) else []

    def create(self, name: str) -> "Agent":
        """Return a new agent. Raises as `check` does, and passes on what the factory raises."""
        return self._factory(name)()

    def _factory(self, name: str) -> "Callable[[], Agent]":
        if not _exists(_FRAMEWORK):
            raise _unknown(name, "Agent Framework is not installed (requirements-agents.txt)")
        if not _exists(self._module):
            raise _unknown(name, f"the deployment has no module '{self._module}' with agents")
        known = self._known()
        if name not in known:
            raise _unknown(name, f"the agents are: {', '.join(f'agent:{one}' for one in sorted(known)) or 'none'}")
        return known[name]

    def _known(self) -> "Mapping[str, Callable[[], Agent]]":
        try:
            known: object = importlib.import_module(self._module).AGENTS
        except Exception as error:
            _log.exception("agents.broken", extra={"module_name": self._module})
            raise Misconfigured("The agents of this deployment cannot be loaded.", code="agents_broken") from error
        if not isinstance(known, Mapping):
            _log.error("agents.broken", extra={"module_name": self._module, "found": type(known).__name__})
            raise Misconfigured("AGENTS of this deployment is not a mapping.", code="agents_broken")
        return known


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False  # the package that would contain it does not exist


def _unknown(name: str, why: str) -> BadRequest:
    return BadRequest(f"The model 'agent:{name[:100]}' does not exist: {why}.", param="model", code="model_not_found")
