"""The infrastructure as a whole: every file that a deployment reads, as text and as declarations."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.infra import names, typed
from tests.infra.bicep import File, declared
from tests.infra.trees import ROOT, read

PASSED = re.compile(r"^param (\w+) = .*readEnvironmentVariable\('(\w+)'(?:, '([^']*)')?\)", re.MULTILINE)
PLAIN = (
    "azure.yaml",
    "host.json",
    "infra/main.bicepparam",
    "infra/bicepconfig.json",
    "local.settings.json.example",
)


@dataclass(frozen=True, slots=True)
class Project:
    """The texts of all files by path, and their declarations."""

    texts: dict[str, str]
    files: dict[str, File]
    azure: dict[str, Any]

    def file(self, name: str) -> File:
        """Return a Bicep file by its short name, such as `storage`."""
        return self.files["infra/main.bicep" if name == "main" else f"infra/modules/{name}.bicep"]

    def passed(self) -> dict[str, tuple[str, str | None]]:
        """Return the variable that sets each parameter, and its default as text or None, by parameter."""
        found = PASSED.findall(self.texts["infra/main.bicepparam"])
        return {name: (variable, default) for name, variable, default in found}

    def json(self, path: str) -> Any:
        """Return the content of a JSON file."""
        return json.loads(self.texts[path])


def texts() -> dict[str, str]:
    """Return the texts of the real files."""
    paths = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "infra").rglob("*.bicep"))]
    return {path: (ROOT / path).read_text(encoding="utf-8") for path in (*paths, *PLAIN)}


def projects(versions: dict[str, dict[str, str]]) -> dict[str, Project]:
    """Return a project for each version of the texts. Equal texts are parsed only once."""
    readable = {text: path for version in versions.values() for path, text in version.items() if _is_read(path)}
    labels = {text: f"{number}-{path}" for number, (text, path) in enumerate(readable.items())}
    trees = read({label: text for text, label in labels.items()})
    found = {text: trees[label] for text, label in labels.items()}
    return {name: _project(version, found) for name, version in versions.items()}


def _is_read(path: str) -> bool:
    return path.endswith((".bicep", ".yaml"))


def _project(version: dict[str, str], found: dict[str, Any]) -> Project:
    files = {path: declared(found[text]) for path, text in version.items() if path.endswith(".bicep")}
    return Project(version, files, found[version["azure.yaml"]])


def grammar(project: Project) -> Iterator[str]:
    """Every file is valid Bicep in the dialect that all tools can read."""
    for path, file in project.files.items():
        yield from (f"{path}:{fault}" for fault in names.grammar_faults(file, project.texts[path]))


def types(project: Project) -> Iterator[str]:
    """Every resource conforms to the compiler's type data."""
    for path, file in project.files.items():
        yield from (f"{path}:{fault}" for fault in typed.faults(file))


def wiring(project: Project) -> Iterator[str]:
    """Every name is declared and used, every parameter has a description, and every module gets its parameters."""
    for path, file in project.files.items():
        found = (*names.name_faults(file), *names.parameter_faults(file), *names.module_faults(project.files, path))
        yield from (f"{path}:{fault}" for fault in found)
