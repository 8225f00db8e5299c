"""The compiler says which resources take tags, and the names that may be given are those of all that is made."""

import re
from pathlib import Path

from tests.infra.compiler import Compiler
from tests.infra.deployment import listed, templates
from tests.infra.naming import KINDS, PREFIXES, WITHOUT_TAGS, pairs
from tests.infra.project import Project


def test_the_resources_without_tags_are_those_that_take_none(real: Project, compiler: Compiler, tmp_path: Path) -> None:
    """Each type is declared with tags, and the compiler says which ones do not have that property."""
    declared = [one for _, template in templates(real.compiled.template) for _, one in listed(template)]
    kinds = {one["type"]: one["apiVersion"] for one in declared if "apiVersion" in one}
    kinds.pop("Microsoft.Resources/deployments")
    lines = [f"resource r{n} '{kind}@{version}' = {{ tags: {{}} }}" for n, (kind, version) in enumerate(kinds.items())]
    (tmp_path / "all.bicep").write_text("\n".join(lines), encoding="utf-8")
    refused = [one for one in compiler.compile(tmp_path / "all.bicep").complaints if 'property "tags"' in one]
    found = {list(kinds)[int(re.findall(r"bicep:(\d+)", one)[0]) - 1] for one in refused}
    assert found == WITHOUT_TAGS & kinds.keys()
    assert len(kinds) - len(found) >= 15


def test_all_that_is_made_can_be_named(real: Project) -> None:
    """One variant gives every name, and no other kind of resource has a name made of the environment's."""
    named = real.deployment("named")
    assert pairs(named, "resourceNames").keys() == KINDS.keys() | PREFIXES.keys()
    usual = real.deployment("default").one(KINDS["app"]).name.removeprefix("func-")
    assert not [one.id for one in named.resources if usual in one.id]
    assert len(pairs(named, "resourceTags")) == 3
