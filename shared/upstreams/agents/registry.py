"""The agents of a deployment: a Python module that it brings along, with a mapping from names to factories.

    AGENTS: Mapping[str, Callable[[], Agent]]

The module is imported when the first request names an agent, Agent Framework only where an agent is run.
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
    """What the module of that name brings along; nothing where there is no such module."""

    def __init__(self, module: str) -> None:
        self._module = module

    def check(self, name: str) -> None:
        """Raise BadRequest if there is no such agent, Misconfigured if the module cannot be used."""
        self._factory(name)

    def made(self, name: str) -> "Agent":
        """Return a new agent; raises as `check`, and whatever its factory raises."""
        return self._factory(name)()

    def _factory(self, name: str) -> "Callable[[], Agent]":
        if not _is_there(_FRAMEWORK):
            raise _unknown(name, "Agent Framework is not installed (requirements-agents.txt)")
        if not _is_there(self._module):
            raise _unknown(name, f"the deployment has no module '{self._module}' of agents")
        known = self._known()
        if name not in known:
            raise _unknown(name, f"there are: {', '.join(f'agent:{one}' for one in sorted(known)) or 'none'}")
        return known[name]

    def _known(self) -> "Mapping[str, Callable[[], Agent]]":
        try:
            known: object = importlib.import_module(self._module).AGENTS
        except Exception as error:
            _log.exception("agents.broken", extra={"module_name": self._module})
            raise Misconfigured("The agents of this deployment cannot be loaded.", code="agents_broken") from error
        if not isinstance(known, Mapping):
            _log.error("agents.broken", extra={"module_name": self._module, "found": type(known).__name__})
            raise Misconfigured("The agents of this deployment are no mapping.", code="agents_broken")
        return known


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False  # not even the package that it would be in


def _unknown(name: str, why: str) -> BadRequest:
    return BadRequest(f"The model 'agent:{name[:100]}' does not exist: {why}.", param="model", code="model_not_found")
