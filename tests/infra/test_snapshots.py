"""Each variant of a deployment is kept as the compiler evaluates it: a change of the Bicep shows what it changes.

`python -m tests.infra.test_snapshots` writes the files again.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.infra.compiler import Compiler, running
from tests.infra.deployment import canonical
from tests.infra.project import VARIANTS, Project

FOLDER = Path(__file__).parent / "variants"


def kept(variant: str) -> Path:
    """Return the file of a variant."""
    return FOLDER / f"{variant}.snapshot.json"


def evaluated(compiler: Compiler, variant: str) -> dict[str, Any]:
    """Return a variant as the compiler evaluates it now."""
    return compiler.snapshot(FOLDER / f"{variant}.bicepparam")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_deployed_as_it_was(variant: str, compiler: Compiler) -> None:
    """The resources and outputs are those of the kept file, in whatever order the compiler names them."""
    found = canonical(evaluated(compiler, variant))
    assert found == kept(variant).read_text(encoding="utf-8"), f"see {kept(variant)}, and the docstring of this module"


def test_there_are_enough_variants() -> None:
    """Every choice that adds or takes away a resource is in a variant, and each kept file belongs to one."""
    assert len(VARIANTS) >= 8
    assert {path.name.partition(".")[0] for path in FOLDER.glob("*.snapshot.json")} == set(VARIANTS)


def test_the_order_of_outputs_is_not_compared(compiler: Compiler) -> None:
    """The compiler writes them in another order each time, and the text that is kept has one order."""
    found = evaluated(compiler, "default")
    turned = {
        "predictedResources": found["predictedResources"][::-1],
        "outputs": dict(reversed(found["outputs"].items())),
    }
    assert canonical(turned) == canonical(found)
    assert canonical({**found, "predictedResources": found["predictedResources"][1:]}) != canonical(found)


def test_every_parameter_is_given_by_a_variant(real: Project) -> None:
    """A parameter that no variant gives would have only one value in all that is evaluated."""
    given = {name for variant in VARIANTS for name in real.deployment(variant).given}
    assert real.compiled.template["parameters"].keys() - given == set()


if __name__ == "__main__":
    with running() as compiler:
        for name in VARIANTS:
            kept(name).write_text(canonical(evaluated(compiler, name)), encoding="utf-8")
