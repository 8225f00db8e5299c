"""The infrastructure as a whole: every file that a deployment reads, and what the compiler makes of it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from local.stack.process import ROOT
from tests.infra.compiler import Compiled, Compiler, Refused
from tests.infra.deployment import Deployment, evaluated

VARIANTS = tuple(sorted(path.stem for path in (Path(__file__).parent / "variants").glob("*.bicepparam")))
PLAIN = (
    "azure.yaml",
    "host.json",
    "infra/bicepconfig.json",
    "local.settings.json.example",
)
PASSED = re.compile(r"^param (\w+) = .*readEnvironmentVariable\('(\w+)'(?:, '([^']*)')?\)", re.MULTILINE)


@dataclass(slots=True)
class Project:
    """A copy of the files in a folder. It is compiled and evaluated when a check asks."""

    folder: Path
    compiler: Compiler
    variants: tuple[str, ...] = VARIANTS
    _compiled: Compiled | None = None
    _deployments: dict[str, Deployment] = field(default_factory=dict)

    def text(self, path: str) -> str:
        """Return the text of a file."""
        return (self.folder / path).read_text(encoding="utf-8")

    def json(self, path: str) -> Any:
        """Return the content of a JSON file."""
        return json.loads(self.text(path))

    @property
    def azure(self) -> dict[str, Any]:
        """Return the content of azure.yaml."""
        found: dict[str, Any] = yaml.safe_load(self.text("azure.yaml"))
        return found

    @property
    def compiled(self) -> Compiled:
        """Return what the compiler makes of the Bicep."""
        if self._compiled is None:
            self._compiled = self.compiler.compile(self.folder / "infra" / "main.bicep")
        return self._compiled

    def passed(self) -> dict[str, tuple[str, str | None]]:
        """Return the variable that sets each parameter, and its default as text or None, by parameter."""
        return {one[1]: (one[2], one[3]) for one in PASSED.finditer(self.text("infra/main.bicepparam"))}

    def deployment(self, variant: str) -> Deployment:
        """Return a variant, evaluated. Raises Refused if that is not possible."""
        if variant not in self._deployments:
            path = self.folder / "tests" / "infra" / "variants" / f"{variant}.bicepparam"
            snapshot, given = self.compiler.snapshot(path), self.compiler.parameters(path)
            self._deployments[variant] = evaluated(variant, snapshot, given)
        return self._deployments[variant]

    def deployments(self) -> Iterator[Deployment]:
        """Yield every variant, evaluated."""
        for variant in self.variants:
            yield self.deployment(variant)


def texts() -> dict[str, str]:
    """Return the texts of the real files, by path."""
    found = [*(ROOT / "infra").rglob("*.bicep"), *(ROOT / "infra").glob("*.bicepparam")]
    found += (ROOT / "tests" / "infra" / "variants").glob("*.bicepparam")
    paths = [path.relative_to(ROOT).as_posix() for path in found]
    return {path: (ROOT / path).read_text(encoding="utf-8") for path in (*paths, *PLAIN)}


def written(version: dict[str, str], folder: Path) -> Path:
    """Write the texts of a version of the project to a folder, and return it."""
    for path, text in version.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def compiles(project: Project) -> Iterator[str]:
    """Neither the compiler nor its linter has anything to say, and every variant can be evaluated."""
    yield from project.compiled.complaints
    for variant in project.variants:
        try:
            project.deployment(variant)
        except Refused as refused:
            yield f"{variant}: {refused}"
